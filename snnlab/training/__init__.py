"""The Lightning module, losses, metrics and callbacks."""
