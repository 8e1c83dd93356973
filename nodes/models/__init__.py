"""Models: where weights come from."""
