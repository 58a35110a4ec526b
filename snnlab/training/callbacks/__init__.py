"""What happens around the training: which epoch is chosen, what is timed, what is shown."""
