"""Methods: one file per way to teach a model."""
