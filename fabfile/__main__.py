"""`python -m gapless`: the program, where no script directory is in PATH."""

from .program import run

if __name__ == "__main__":
    run()
