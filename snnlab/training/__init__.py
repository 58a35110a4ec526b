"""The Lightning module, metrics, optimizers, schedules and checkpoints."""
