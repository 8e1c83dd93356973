"""Plain values for fields of other nodes."""
