"""`python -m snnlab` is `snnlab`."""

from snnlab.cli import enter

if __name__ == "__main__":
    enter()
