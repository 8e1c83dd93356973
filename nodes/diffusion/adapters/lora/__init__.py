"""Low-rank adapters (Hu et al. 2021) and their family."""
