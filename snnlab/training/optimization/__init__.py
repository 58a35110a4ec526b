"""How weights change: groups of parameters, schedules, averages, annealing, and what stays as it is."""
