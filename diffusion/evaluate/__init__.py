"""How good the model is on code that it never saw."""
