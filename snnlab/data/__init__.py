"""Datasets by name, splits, and the Lightning data module; `tonic_adapter` is the only file that imports tonic."""
