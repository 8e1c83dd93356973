"""What can be applied to a model, and the files it is read from and written to."""
