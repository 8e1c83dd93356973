"""Vocabularies of tokenizers, which single files leave out."""
