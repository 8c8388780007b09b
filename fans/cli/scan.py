"""``fans scan``: which scheduler of diffusers loses which frequencies?"""

import csv
import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

BETAS: dict[str, dict[str, Any]] = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "squaredcos_cap_v2": {"beta_schedule": "squaredcos_cap_v2"},
}
FAMILIES = ("vp", "flow", "edm")
FORMATS = ("plain", "json", "csv")
COLUMNS = ("scheduler", "steps", "calls", "options", "low", "middle", "high", "rms", "worst")


def add(commands: Any) -> None:
    """Add the command to those of the parser."""
    command = commands.add_parser("scan", help="which scheduler of diffusers loses which frequencies?")
    command.add_argument("data", metavar="DATA", help="folder of images, or the exponent of a power law")
    command.add_argument("--calls", type=int, default=20, metavar="N", help="of the network, 20 unless given")
    command.add_argument("--family", choices=FAMILIES, default="vp", help="what the network was trained on")
    command.add_argument(
        "--betas",
        choices=list(BETAS),
        default="linear",
        help="of a network of the family vp; linear, 0.0001 to 0.02",
    )
    command.add_argument("--defaults", action="store_true", help="leave the spacings and sigmas as they come")
    command.add_argument(
        "--order", choices=("rms", "worst"), default="rms", help="error that sorts the table"
    )
    command.add_argument(
        "--size", type=int, default=64, metavar="N", help="pixels of a crop, 64 unless given"
    )
    command.add_argument("--format", choices=FORMATS, default="plain", help="of the table")
    command.set_defaults(command=run)


def run(options: Namespace) -> int:
    """Print the errors of all schedulers, the best first."""
    from fans._validation import whole
    from fans.hub import recommend

    found = recommend(
        _spectrum(options.data, whole("--size", options.size, low=8)),
        whole("--calls", options.calls, low=1),
        family=options.family,
        order=options.order,
        variants=not options.defaults,
        **(BETAS[options.betas] if options.family == "vp" else {}),
    )
    shared = BETAS[options.betas].keys()
    _write([_row(scan, shared) for scan in found], options.format)
    return 0


def _spectrum(data: str, size: int) -> Any:
    """Power at frequencies 1 / size to 1 / 2: of a power law of variance 1/4, or of crops of a folder."""
    import torch

    from fans import images
    from fans.images.files import listing
    from fans.spectrum import radial_spectrum

    f = torch.arange(1, size // 2 + 1, dtype=torch.float64) / size
    try:
        law = f ** -float(data)
    except ValueError:
        # the loader tells what is wrong with an empty folder
        count = max(len(listing(Path(data).expanduser())), 1)
        x = images.load(f"folder:{data}", size=size, count=count, holdout=0).mean(1)
        rings = radial_spectrum(x.double() - x.mean((-2, -1), keepdim=True), corners="cut")
        return rings.power.mean(0)[1:]
    return law / (4 * (law * f).sum() / f.sum())  # rings hold coefficients in proportion to f


def _row(scan: Any, shared: Any) -> dict[str, Any]:
    error = scan.error.tolist()
    options = {key: value for key, value in scan.options.items() if key not in shared}
    picked = (error[0], error[len(error) // 4], error[-1])
    numbers = [round(float(v), 3) for v in (*picked, scan.rms, scan.worst)]
    told = " ".join(f"{key}={value}" for key, value in options.items())
    return dict(zip(COLUMNS, (scan.name, scan.steps, scan.calls, told, *numbers), strict=True))


def _write(rows: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        print(json.dumps(rows, indent=1))
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        heads = "".join(f"{name:>8}" for name in COLUMNS[4:])
        print(f"{'scheduler':34}{'calls':>5}{heads}  (dB) options")
        for row in rows:
            errors = "".join(f"{row[c]:8.2f}" for c in COLUMNS[4:])
            print(f"{row['scheduler']:34}{row['calls']:5}{errors}       {row['options']}".rstrip())
