"""``fans detect``: how well are generated images told from real ones?"""

from argparse import Namespace
from pathlib import Path
from typing import Any

FEATURES = ("fit", "spectrum", "pixels")  # of detectors


def add(commands: Any) -> None:
    """Add the command to those of the parser."""
    command = commands.add_parser("detect", help="how well are generated images told from real ones?")
    command.add_argument(
        "generated", metavar="GENERATED", help="folder of images; store both sets in the same format"
    )
    command.add_argument("real", metavar="REAL", help="folder of images, not within the other")
    command.add_argument(
        "--size", type=int, default=64, metavar="N", help="pixels of a crop, 64 unless given"
    )
    command.add_argument(
        "--patches", type=int, default=1, metavar="N", help="crops of each image, 1 unless given"
    )
    command.add_argument(
        "--features",
        choices=FEATURES,
        default="fit",
        help="what it sees: power law of the tail, radial spectrum, pixels",
    )
    command.add_argument(
        "--threshold",
        type=float,
        default=0.75,
        metavar="R",
        help="of the fit, 1 is the corner; 0.75 unless given",
    )
    command.add_argument("--seed", type=int, default=0, help="of crops and splits, 0 unless given")
    command.set_defaults(command=run)


def run(options: Namespace) -> int:
    """Print the measures of a detector."""
    from fans.detection import detect

    folders = [Path(folder).expanduser().resolve() for folder in (options.generated, options.real)]
    if any(a.is_relative_to(b) for a, b in (folders, folders[::-1])):
        raise ValueError(
            f"GENERATED and REAL share images: {folders[0]} and {folders[1]}; give two folders apart"
        )
    (generated, a), (real, b) = (_crops(folder, options) for folder in folders)
    rows = detect(
        generated=generated,
        real=real,
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
