"""Where frames come from: one module a kind of source, all behind `base.Source`."""
