"""Measurements of a segmented inner ear, in its own coordinates: what, by which definition."""
