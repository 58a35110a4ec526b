"""A network's form as C99: one step of it, its weights, a program that replays a recording."""
