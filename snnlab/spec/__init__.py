"""One field: its type, unit, range, choices, exclusions, help and default, from an annotation. Imports errors only."""
