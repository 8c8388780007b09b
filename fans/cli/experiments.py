"""``fans experiments``: list them."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from fans.cli.common import SCALES


def add(commands: Any) -> None:
    """Add the command to those of the parser."""
    command = commands.add_parser("experiments", help="list them")
    command.add_argument("--scale", choices=SCALES, help="all scales unless given")
    command.set_defaults(command=run)


def run(options: Namespace) -> int:
    """List experiments by scale."""
    from fans import experiments

    scales: Sequence[Any] = (options.scale,) if options.scale else SCALES
    for scale in scales:
        print(scale)
        for name in experiments.names(scale):
            print(f"  {name:31}{experiments.get(name, scale).summary()}")
    return 0
