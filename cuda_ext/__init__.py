"""The compiled denoising loop, for CPU and CUDA: binding (`native`), rules, and definition (`reference`, `twin`)."""
