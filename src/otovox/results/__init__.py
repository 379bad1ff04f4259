"""From a prediction to files that are read by others."""
