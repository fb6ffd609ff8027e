"""Teaches a model somebody's own code: a few small matrices beside frozen weights (`mezzotint adapt`)."""
