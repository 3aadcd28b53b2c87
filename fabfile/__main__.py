"""`python -m gapless`: the program, where no script directory is in PATH."""

from .program import main

if __name__ == "__main__":
    main()
