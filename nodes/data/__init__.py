"""Data: pictures, captions, and what is computed from them once per item."""
