"""What is found out in a few training steps before a training: a learning rate, a batch size."""
