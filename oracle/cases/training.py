"""Golden cases of training: weights after every iteration, and the files that are written."""
