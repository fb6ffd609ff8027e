"""One command for a machine with a GPU: `python -m cuda_ext.gpu_check`."""
