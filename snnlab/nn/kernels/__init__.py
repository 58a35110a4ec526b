"""The neuron's time loop; `reference` is its definition."""
