"""Names of tensors in parts that several families share, in diffusers and transformers and in single files."""
