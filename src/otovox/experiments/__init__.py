"""Data sets through systems: folds, predictions, studies."""
