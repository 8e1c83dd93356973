"""The palette that comes with Latent Loom: one folder per category, one file per node or family of nodes."""
