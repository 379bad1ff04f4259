"""Networks, their training data, training and storage."""
