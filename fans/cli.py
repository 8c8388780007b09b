"""The command ``fans``: reproduce the experiments of the book, check what was published, detect images.

>>> main(["experiments", "--scale", "cpu"])  # doctest: +ELLIPSIS
cpu
  fans-pltb                 12 arms, seeds: 3, 450 steps, 4096 images of 16x16x1 (pltb)
  ...
0
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

SCALES = ("smoke", "cpu", "gpu")
FEATURES = ("fit", "spectrum", "pixels")  # of detectors
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
    parser = ArgumentParser(prog="fans", description="Experiments and tools of the book.")
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

    _add_detect(commands)
    return parser


def _add_detect(commands: Any) -> None:
    detect = commands.add_parser("detect", help="how well are generated images told from real ones?")
    detect.add_argument("real", metavar="REAL", help="folder of images; store both sets in the same format")
    detect.add_argument("generated", metavar="GENERATED", help="folder of images, not within the other")
    detect.add_argument("--size", type=int, default=64, metavar="N", help="pixels of a crop, 64 unless given")
    detect.add_argument(
        "--patches", type=int, default=1, metavar="N", help="crops of each image, 1 unless given"
    )
    detect.add_argument(
        "--features",
        choices=FEATURES,
        default="fit",
        help="what it sees: power law of the tail, radial spectrum, pixels",
    )
    detect.add_argument(
        "--threshold",
        type=float,
        default=0.75,
        metavar="R",
        help="of the fit, 1 is the corner; 0.75 unless given",
    )
    detect.add_argument("--seed", type=int, default=0, help="of crops and splits, 0 unless given")
    detect.set_defaults(command=_detect)


def _reproduce(options: Namespace) -> int:
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


def _check(options: Namespace) -> int:
    from fans import experiments

    folder = experiments.home(options.folder)
    names = options.names or sorted(path.parent.name for path in folder.glob("[!.]*/manifest.json"))
    if not names:
        return _told(f"no results in {folder}: run `fans reproduce NAME`, or give --folder", STALE)
    code = 0
    for name in names:
        try:
            manifest = experiments.check(name, folder=folder).manifest
        except experiments.StaleError as error:
            code = _told(error, STALE)
        else:
            print(f"{name}: up to date (scale {manifest['scale']}, commit {manifest['commit']})", flush=True)
    return code


def _experiments(options: Namespace) -> int:
    from fans import experiments

    scales: Sequence[Any] = (options.scale,) if options.scale else SCALES
    for scale in scales:
        print(scale)
        for name in experiments.names(scale):
            print(f"  {name:26}{experiments.get(name, scale).summary()}")
    return 0


def _detect(options: Namespace) -> int:
    from fans.detection import detect

    folders = [Path(folder).expanduser().resolve() for folder in (options.real, options.generated)]
    if any(a.is_relative_to(b) for a, b in (folders, folders[::-1])):
        raise ValueError(
            f"REAL and GENERATED share images: {folders[0]} and {folders[1]}; give two folders apart"
        )
    (real, a), (generated, b) = (_crops(folder, options) for folder in folders)
    rows = detect(
        real,
        generated,
        features=options.features,
        r_c=options.threshold,
        groups=(a, b),
        seed=options.seed,
    )
    print(f"{'measure':25}{'value':9}{'95 % interval':18}floor")
    for row in rows:
        print(f"{row.measure:25}{row.value:<9.3f}{f'{row.low:.3f} to {row.high:.3f}':18}{row.floor:.3f}")
    return 0


def _crops(folder: Path, options: Namespace) -> tuple[Any, list[int]]:
    """Crops of all images of a folder, and from which image each one is."""
    from fans import images
    from fans._validation import whole
    from fans.images.files import listing

    total = max(len(listing(folder)), 1)  # the loader tells what is wrong with an empty folder
    count = total * whole("--patches", options.patches, low=1)
    crops = images.load(f"folder:{folder}", size=options.size, count=count, seed=options.seed, holdout=0)
    return crops, [i % total for i in range(count)]


def _told(message: object, code: int) -> int:
    print(f"fans: {' '.join(str(message).split())}", file=sys.stderr)
    return code
