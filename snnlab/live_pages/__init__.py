"""Pages for a browser on the same machine, while a stream or a training runs; NumPy and the standard library only."""
