"""`python -m seams` is the command `seams`."""

import sys

from seams.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
