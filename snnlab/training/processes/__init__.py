"""Several processes that train one network together, each on its own share of every batch."""
