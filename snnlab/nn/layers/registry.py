"""The registry of everything that can stand in a model's `layers`."""

from snnlab.registry import Registry

LAYERS = Registry("layer")
