"""The table of a suite, or of a folder of runs: what each way to train came to, what it costs, and its protocol."""
