"""The smallest experiment that has all parts, reproduced in seconds."""

from pathlib import Path
from typing import Any

import pytest

from fans import experiments
from fans.experiments import Arm, Data, Denoising, registry

TABLES = ("table.csv", "curves.csv", "weights.safetensors", "samples.safetensors")
GRID = tuple({"alpha": alpha, "beta": 0.5, "gamma": 1.0} for alpha in (0.3, 0.6))
TINY = Denoising(
    "tiny",
    Data("rings"),
    (
        Arm("white, scalar", precondition="scalar", loss="unit"),
        Arm("FANS, spectral", "fans", precondition="spectral", loss="unit", grid=GRID),
    ),
)


def know(patch: pytest.MonkeyPatch, *known: experiments.Experiment) -> None:
    """Register experiments until the patch is undone."""
    for experiment in known:
        patch.setitem(registry._NAMED["cpu"], experiment.name, experiment)


def reproduce(folder: Path, **options: Any) -> experiments.Result:
    options.setdefault("report", lambda _: None)
    with pytest.MonkeyPatch.context() as patch:
        know(patch, TINY)
        return experiments.reproduce("tiny", scale="smoke", folder=folder, **options)


def reproduce_until_killed(folder: str) -> None:
    reproduce(Path(folder))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "tiny" / name).read_bytes() for name in TABLES}
