"""Trainable systems, one folder each."""
