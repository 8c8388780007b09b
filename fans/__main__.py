"""``python -m fans`` is the command ``fans``."""

import sys

from fans.cli import main

if __name__ == "__main__":
    sys.exit(main())
