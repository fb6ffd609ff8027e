"""One transformer, many checkpoints: shapes, cards, weights."""
