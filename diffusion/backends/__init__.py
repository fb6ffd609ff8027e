"""Who runs a model: the native library or torch."""
