"""Z-Image (Cai et al. 2025): one stream of picture and text tokens, a language model for the text."""
