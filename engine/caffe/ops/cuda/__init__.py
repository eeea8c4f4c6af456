"""Kernels for CUDA devices, compiled at run time."""
