"""Prompts to text embeddings: chunks, weights, placeholder tokens."""
