"""Scans from file to results: one, or many."""
