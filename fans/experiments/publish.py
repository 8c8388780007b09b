"""Gathering the runs of an experiment into its folder of results."""

import csv
import io
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from fans.experiments.config import Experiment, Options, Scale
from fans.experiments.data import images_of
from fans.experiments.results import FORMAT
from fans.experiments.run import SHOWN, Measure, Run, outcome
from fans.training import checkpoints

PACKAGES = ("accelerate", "diffusers", "kymatio", "numpy", "scikit-learn", "scipy", "torch")
Grids = Mapping[str, tuple[Options, list[Measure]]]


def publish(
    experiment: Experiment,
    scale: Scale,
    runs: Sequence[tuple[Run, Path]],
    grids: Grids,
    place: Path,
    *,
    fingerprint: Mapping[str, float],
    seconds: float,
) -> None:
    """Gather the runs of an experiment into its folder, which appears whole or not at all.

    Args:
        experiment, scale: what was run.
        runs: all of them, each with its folder.
        grids: what validation chose, by arm, and the measures of all options.
        place: the folder of results.
        fingerprint: of the code that ran.
        seconds: that it took.
    """
    clean(place)
    partial, old = _beside(place)
    partial.mkdir(parents=True)
    images = images_of(experiment.data, experiment.samples)
    contents = _gather(runs, grids, images.spectrum, images.restored(images.test[:SHOWN]).half())
    files = {name: checkpoints.write(partial / name, data)["sha256"] for name, data in contents.items()}
    manifest = {
        "format": FORMAT,
        "name": experiment.name,
        "scale": scale,
        "config": experiment.plain(),
        "mean": images.mean,
        "deviation": images.deviation,
        "chosen": {arm: options for arm, (options, _) in grids.items()},
        "seconds": round(seconds),
        **provenance(),
        "files": files,
        "fingerprint": {key: float(f"{value:.6g}") for key, value in fingerprint.items()},
    }
    checkpoints.write(partial / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
    if place.exists():
        os.replace(place, old)
    os.replace(partial, place)
    clean(place)


def _beside(place: Path) -> tuple[Path, Path]:
    """Where a folder of results is made, and where the one before it waits for its end."""
    return place.with_name(f".{place.name}.partial"), place.with_name(f".{place.name}.old")


def clean(place: Path) -> None:
    """Delete what publishing, or a call that was killed in it, left beside a folder of results."""
    for path in _beside(place):
        shutil.rmtree(path, ignore_errors=True)


def _gather(
    runs: Sequence[tuple[Run, Path]], grids: Grids, spectrum: Tensor, real: Tensor
) -> dict[str, bytes]:
    """The contents of all files but the manifest."""
    measures = [row for _, rows in grids.values() for row in rows]
    curves, weights, samples = list[tuple[Any, ...]](), dict[str, Tensor](), dict[str, Tensor]()
    for run, folder in runs:
        found, name = outcome(run, folder), run.arm.name
        measures += found.measures
        curves += [(name, run.seed, record["step"], record["loss"]) for record in found.curve]
        if run.seed == 0:
            weights |= {f"{name}/{key}": value for key, value in found.weights.items()}
            samples[name] = found.samples
    return {
        "table.csv": _csv(Measure._fields, measures),
        "curves.csv": _csv(("arm", "seed", "step", "loss"), curves),
        "weights.safetensors": save(weights | {"spectrum": spectrum}),
        "samples.safetensors": save(samples | {"real": real}),
    }


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Comma-separated values, six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in rows)
    return text.getvalue().encode()


def provenance() -> dict[str, Any]:
    """Commit of the package, versions and hardware."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "commit": _commit(Path(__file__).parents[1]),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count(), "processor": _cpu(), "gpu": gpu},
    }


def _commit(package: Path) -> str | None:
    """The commit, "-dirty" if the package has changes since; None if no repository tracks it."""
    if not _git(package, "ls-files", "__init__.py"):  # such as an environment inside another repository
        return None
    changed = _git(package, "status", "--porcelain", "--", ".")
    return f"{_git(package, 'rev-parse', 'HEAD')}{'-dirty' if changed else ''}"


def _git(folder: Path, *arguments: str) -> str:
    """What git says, nothing where it fails or is missing."""
    try:
        said = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return said.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
