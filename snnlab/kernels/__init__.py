"""A neuron's step, traced once, and run by loops that are rendered from it; knows nothing of neurons."""
