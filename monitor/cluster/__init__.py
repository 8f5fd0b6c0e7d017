"""More than one machine: archives scored again by a new model, on Ray where a cluster is named."""
