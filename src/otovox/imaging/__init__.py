"""Volumes and masks as arrays: no files, no networks."""
