"""Predictions against truth: scores, tables, figures."""
