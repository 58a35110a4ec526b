"""A run, or a folder of runs, as one page that needs no network: what a reader would ask, and where it comes from."""
