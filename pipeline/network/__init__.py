"""HDRUNet and its weights."""
