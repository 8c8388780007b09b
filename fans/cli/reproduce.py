"""``fans reproduce``: train what is missing of experiments, judge it, write their results."""

from argparse import Namespace
from functools import partial
from typing import Any

from fans.cli.common import SCALES, add_folder


def add(commands: Any) -> None:
    """Add the command to those of the parser."""
    command = commands.add_parser("reproduce", help="train what is missing, judge it, write its results")
    command.add_argument("names", nargs="*", metavar="NAME", help="experiment, see `fans experiments`")
    command.add_argument("--all", action="store_true", help="all experiments of the scale")
    command.add_argument("--scale", choices=SCALES, default="cpu", help="cpu unless given")
    command.add_argument("--workers", type=int, default=1, metavar="N", help="runs at the same time")
    command.add_argument("--force", action="store_true", help="train anew, even if nothing changed")
    command.add_argument("--fid", action="store_true", help="also compute the FID, with torch-fidelity")
    add_folder(command)
    command.set_defaults(command=run, refuse=command.error)


def run(options: Namespace) -> int:
    """Reproduce the experiments that are named, or all."""
    from fans import experiments

    if options.all == bool(options.names):
        options.refuse("name experiments, or give --all: `fans experiments` lists them")
    names = experiments.names(options.scale) if options.all else options.names
    for name in names:
        experiments.get(name, options.scale, fid=options.fid)  # a wrong name shows before an hour has passed
    for name in names:
        result = experiments.reproduce(
            name,
            scale=options.scale,
            folder=options.folder,
            workers=options.workers,
            force=options.force,
            fid=options.fid,
            report=partial(print, flush=True),
        )
        print(f"{name}: {result.folder}", flush=True)
    return 0
