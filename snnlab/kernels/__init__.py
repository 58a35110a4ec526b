"""Kernels: a step function is traced once and runs in loops rendered from it; independent of the neurons."""
