"""Systems applied to data sets: folds, predictions, studies."""
