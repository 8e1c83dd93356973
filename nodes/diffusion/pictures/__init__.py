"""Pictures: reading, cutting, captions, tags, embeddings and measures."""
