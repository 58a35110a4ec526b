"""A page for a browser on the same machine, while a stream runs; NumPy and the standard library only."""
