"""The command ``fans``: reproduce and check the experiments of the book, detect images, scan samplers.

>>> main(["experiments", "--scale", "cpu"])  # doctest: +ELLIPSIS
cpu
  fans-pltb                      12 arms, seeds: 3, 450 steps, 4096 images of 16x16x1 (pltb)
  ...
0
"""

from argparse import ArgumentParser
from collections.abc import Sequence

import fans
from fans.cli import check, detect, experiments, reproduce, scan
from fans.cli.common import FAILED, INTERRUPTED, told


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of ``fans``.

    Args:
        arguments: of the command line, those of this process unless given.

    Returns:
        Exit code: 0 done, 1 stale results, 2 an error that stderr tells in one line, 130 interrupted.

    Raises:
        SystemExit: arguments that do not make sense, ``--help`` or ``--version``.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except KeyboardInterrupt:
        return told("interrupted: the same command resumes", INTERRUPTED)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        return told(error, FAILED)
    return code


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="fans", description="Experiments and tools of the book.")
    parser.add_argument("--version", action="version", version=f"fans {fans.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (reproduce, check, experiments, detect, scan):
        command.add(commands)
    return parser
