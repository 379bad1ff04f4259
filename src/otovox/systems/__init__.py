"""Systems that are trained and asked like the project's own (see `multi_planar`)."""
