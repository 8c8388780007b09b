"""Gathering the runs of an experiment into its folder of results."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from fans.experiments import store
from fans.experiments.config import Experiment, Options, Scale
from fans.experiments.run import SHOWN, Measure, Run, outcome

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
    images = runs[0][0].images()
    manifest = {
        "name": experiment.name,
        "scale": scale,
        "config": experiment.plain(),
        "mean": images.mean,
        "deviation": images.deviation,
        "chosen": {arm: options for arm, (options, _) in grids.items()},
        "seconds": round(seconds),
        **provenance(),
        "fingerprint": {key: float(f"{value:.6g}") for key, value in fingerprint.items()},
    }
    contents = _gather(runs, grids, images.spectrum, images.restored(images.test[:SHOWN]).half())
    store.write_results(place, contents, manifest)


def _gather(
    runs: Sequence[tuple[Run, Path]], grids: Grids, spectrum: Tensor, real: Tensor
) -> dict[str, bytes]:
    """The contents of all files but the manifest."""
    measures = [row for _, rows in grids.values() for row in rows]
    curves, weights, samples = list[tuple[Any, ...]](), dict[str, Tensor](), dict[str, Tensor]()
    for run, folder in runs:
        found, name = outcome(run, folder), run.arm.name
        measures += found.measures
        kept = ("step", *run.recorded)
        curves += [(name, run.seed, *(record.get(key) for key in kept)) for record in found.curve]
        if run.seed == 0:
            weights |= {f"{name}/{key}": value for key, value in found.weights.items()}
            samples[name] = found.samples
    return {
        "table.csv": store.csv_of(Measure._fields, measures),
        "curves.csv": store.csv_of(("arm", "seed", "step", *runs[0][0].recorded), curves),
        "weights.safetensors": save(weights | {"spectrum": spectrum}),
        "samples.safetensors": save(samples | {"real": real}),
    }


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
