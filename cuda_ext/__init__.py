"""Operators of the denoising loop. For now the plain-torch twins in `reference`, which define what is right."""
