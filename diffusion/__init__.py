"""Masked-diffusion infilling of code: request in, drafts out. Importing this package imports no torch."""
