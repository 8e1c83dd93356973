"""Merging: checkpoints put together tensor by tensor; nothing is computed before the result is saved."""
