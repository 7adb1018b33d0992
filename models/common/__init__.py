"""What all models share: how loops are compiled, arrays as bytes, and estimator state as named arrays."""
