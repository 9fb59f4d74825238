"""The classifier: a linear model over hashed n-grams, numpy alone; `training/` makes its weights."""
