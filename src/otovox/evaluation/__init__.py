"""Predictions against ground truth: scores, tables, figures."""
