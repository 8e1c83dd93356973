"""Denoising tasks, objectives and batches, given to the loop; a file for each special loss."""
