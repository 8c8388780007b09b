"""The command ``fans``: reproduce the experiments of the book, and check what was published.

>>> main(["experiments", "--scale", "cpu"])  # doctest: +ELLIPSIS
cpu
  fans-pltb           12 arms, seeds: 3, 450 steps, 4096 images of 16x16x1 (pltb)
  ...
0
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from typing import Any

SCALES = ("smoke", "cpu", "gpu")
STALE, FAILED, INTERRUPTED = 1, 2, 130  # exit codes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of ``fans``.

    Args:
        arguments: of the command line, those of this process unless given.

    Returns:
        Exit code: 0 done, 1 stale results, 2 an error that stderr tells in one line, 130 interrupted.

    Raises:
        SystemExit: arguments that do not make sense, or ``--help``.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except KeyboardInterrupt:
        return _told("interrupted: the same command resumes", INTERRUPTED)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        return _told(error, FAILED)
    return code


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="fans", description="Reproduce the experiments of the book, and check them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    reproduce = commands.add_parser("reproduce", help="train what is missing, judge it, write its results")
    reproduce.add_argument("names", nargs="*", metavar="NAME", help="experiment, see `fans experiments`")
    reproduce.add_argument("--all", action="store_true", help="all experiments of the scale")
    reproduce.add_argument("--scale", choices=SCALES, default="cpu", help="cpu unless given")
    reproduce.add_argument("--workers", type=int, default=1, metavar="N", help="runs at the same time")
    reproduce.add_argument("--force", action="store_true", help="train anew, even if nothing changed")
    reproduce.add_argument("--fid", action="store_true", help="also compute the FID, with torch-fidelity")
    reproduce.set_defaults(command=_reproduce, refuse=reproduce.error)

    check = commands.add_parser("check", help="are results those of today's configuration, code and data?")
    check.add_argument("names", nargs="*", metavar="NAME", help="experiment; all in the folder unless given")
    check.set_defaults(command=_check)
    for command in (reproduce, check):
        command.add_argument("--folder", metavar="DIR", help="of all results; `results` here or above")

    experiments = commands.add_parser("experiments", help="list them")
    experiments.add_argument("--scale", choices=SCALES, help="all scales unless given")
    experiments.set_defaults(command=_experiments)
    return parser


def _reproduce(options: Namespace) -> int:
    from fans import runs

    if options.all == bool(options.names):
        options.refuse("name experiments, or give --all: `fans experiments` lists them")
    names = runs.names(options.scale) if options.all else options.names
    for name in names:
        runs.get(name, options.scale, fid=options.fid)  # a wrong name shows before an hour has passed
    for name in names:
        result = runs.reproduce(
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


def _check(options: Namespace) -> int:
    from fans import runs

    folder = runs.home(options.folder)
    names = options.names or sorted(path.parent.name for path in folder.glob("[!.]*/manifest.json"))
    if not names:
        return _told(f"no results in {folder}: run `fans reproduce NAME`, or give --folder", STALE)
    code = 0
    for name in names:
        try:
            manifest = runs.check(name, folder=folder).manifest
        except runs.StaleError as error:
            code = _told(error, STALE)
        else:
            print(f"{name}: up to date (scale {manifest['scale']}, commit {manifest['commit']})", flush=True)
    return code


def _experiments(options: Namespace) -> int:
    from fans import runs

    scales: Sequence[Any] = (options.scale,) if options.scale else SCALES
    for scale in scales:
        print(scale)
        for name in runs.names(scale):
            print(f"  {name:19} {runs.get(name, scale).summary()}")
    return 0


def _told(message: object, code: int) -> int:
    print(f"fans: {' '.join(str(message).split())}", file=sys.stderr)
    return code
