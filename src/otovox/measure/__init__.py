"""Measurements of a segmented inner ear, in its own coordinates, with their definitions."""
