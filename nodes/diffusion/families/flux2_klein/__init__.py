"""FLUX.2 klein (Black Forest Labs, 2026): double and single blocks over picture and text, a language model for the text."""
