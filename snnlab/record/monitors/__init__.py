"""What one sees of a network while it trains: its vitals on a few recordings, and what a step does to its weights."""
