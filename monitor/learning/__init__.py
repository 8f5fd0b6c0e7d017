"""From labelled images to a model and its measured quality."""
