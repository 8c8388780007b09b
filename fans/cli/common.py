"""What the commands share: scales, exit codes, and errors in one line."""

import sys
from argparse import ArgumentParser

SCALES = ("smoke", "cpu", "gpu")
STALE, FAILED, INTERRUPTED = 1, 2, 130  # exit codes


def add_folder(command: ArgumentParser) -> None:
    """The option ``--folder``."""
    command.add_argument("--folder", metavar="DIR", help="of all results; `results` here or above")


def told(message: object, code: int) -> int:
    """Say in one line of stderr what is wrong, and return the exit code."""
    print(f"fans: {' '.join(str(message).split())}", file=sys.stderr)
    return code
