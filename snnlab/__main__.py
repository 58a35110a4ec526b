"""`python -m snnlab` runs the command `snnlab`."""

from snnlab.cli.main import enter

if __name__ == "__main__":
    enter()
