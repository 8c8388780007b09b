"""What an experiment leaves in ``results/NAME``, and whether it is still what the code would give.

A folder holds ``table.csv`` (every measure), ``curves.csv`` (training losses), ``weights.safetensors`` (the
averaged weights of seed 0 after the last budget, in half precision), ``samples.safetensors`` and
``manifest.json``, written last. The manifest has the configuration, the commit, versions, hardware, wall
time, the SHA-256 of every file, and a *fingerprint*: the numbers of the experiment's smoke form, which trains
every arm for two steps on the first images. A folder is stale when its configuration is no longer that of the
experiment, a file is another, or the fingerprint of today's code and data differs.
"""

import csv
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fans import checkpoints
from fans.features import extract
from fans.process import SpectralProcess
from fans.runs import registry
from fans.runs.config import Arm, Experiment, smoke
from fans.runs.train import Measure, Run, images_of, judge, network_of, process_of

FORMAT = "fans results, version 1"
PACKAGES = ("accelerate", "diffusers", "kymatio", "numpy", "scikit-learn", "scipy", "torch")
TOLERANCE = 2e-3  # of the fingerprint: machines round differently, changed code differs more


class StaleError(RuntimeError):
    """Results that are missing or are not those of the present code; the message says why."""


@dataclass(frozen=True)
class Result:
    """A finished experiment.

    Attributes:
        experiment: its configuration.
        manifest: see the module.
        table: every measure, columns of ``Measure``.
        curves: training loss by arm, seed and step.
        folder: where it lies.
    """

    experiment: Experiment
    manifest: dict[str, Any]
    table: pd.DataFrame
    curves: pd.DataFrame
    folder: Path

    def samples(self, arm: str) -> Tensor:
        """Images of seed 0 after the last budget, (16, C, H, W)."""
        return load_file(self.folder / "samples.safetensors")[arm].float()

    def arm(self, name: str) -> Arm:
        """An arm by name, with the options that validation chose.

        Raises:
            ValueError: no such arm.
        """
        arms = {arm.name: arm for arm in self.experiment.arms}
        if name not in arms:
            raise ValueError(f"no arm {name!r} in {self.experiment.name}: it has {', '.join(arms)}")
        return replace(arms[name], options=self.manifest["chosen"].get(name, arms[name].options))

    def denoiser(self, name: str) -> tuple[SpectralProcess, nn.Module]:
        """Process and network of seed 0 after the last budget, for standardised images (``manifest``)."""
        arm, tensors = self.arm(name), load_file(self.folder / "weights.safetensors")
        spectrum = tensors["spectrum"]
        noising = process_of(arm, spectrum, self.experiment.timesteps)
        network = network_of(arm, self.experiment, noising, spectrum, 0)
        own = {
            key.removeprefix(f"{name}/"): value
            for key, value in tensors.items()
            if key.startswith(f"{name}/")
        }
        network.load_state_dict(own)
        return noising, network.eval().requires_grad_(False)


def home(folder: Path | str | None = None) -> Path:
    """The folder of results: the one given, else ``results`` here or in the nearest folder above."""
    if folder is not None:
        return Path(folder)
    here = Path.cwd()
    return next((p / "results" for p in (here, *here.parents) if (p / "results").is_dir()), here / "results")


def load(name: str, *, folder: Path | str | None = None) -> Result:
    """Read the results of an experiment.

    Raises:
        StaleError: there are none, a file is damaged, or the experiment has another configuration now.
    """
    place = home(folder) / name
    try:
        manifest = json.loads((place / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise StaleError(f"no results of {name!r} in {home(folder)}: run `fans reproduce {name}`") from error
    experiment = registry.get(name, manifest["scale"])
    _check_files(place, manifest)
    if manifest["config"] != json.loads(json.dumps(experiment.plain())):
        raise StaleError(
            f"{place}: the experiment has another configuration now; run `fans reproduce {name}`"
        )
    table, curves = (pd.read_csv(place / f"{part}.csv") for part in ("table", "curves"))
    return Result(experiment, manifest, table, curves, place)


def _check_files(place: Path, manifest: Mapping[str, Any]) -> None:
    for name, expected in manifest["files"].items():
        file = place / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise StaleError(
                f"{file}: missing, or not the file that was written; restore it from version control or run"
                f" `fans reproduce {place.name}`"
            )


def check(name: str, *, folder: Path | str | None = None) -> None:
    """Check that results are those of the present configuration, code and data.

    Raises:
        StaleError: says what differs.
    """
    result = load(name, folder=folder)
    then, now = result.manifest["fingerprint"], fingerprint(result.experiment)
    different = [
        key
        for key in sorted(set(then) | set(now))
        if key not in then or key not in now or abs(then[key] - now[key]) > TOLERANCE * (1 + abs(then[key]))
    ]
    if different:
        first = different[0]
        raise StaleError(
            f"{result.folder}: code or data changed, {len(different)} of {len(now)} numbers of the fingerprint"
            f" differ, first {first!r} (was {then.get(first)}, now {now.get(first)}); run `fans reproduce {name}`"
        )


def fingerprint(experiment: Experiment) -> dict[str, float]:
    """Numbers that change when configuration, code or data do: those of the experiment's smoke form.

    Loss and measures after two steps for every arm, and the mean of each named feature of four images.
    """
    small = replace(smoke(experiment), budgets=(2,))
    images = images_of(small.data, small.samples)
    numbers = {
        f"features {name}": float(extract(name, images.test[:4]).mean()) for name in experiment.features
    }
    for arm in small.arms:
        run = Run(small, arm, 0, arm.grid[0] if arm.grid else arm.options)
        trainer = run.trainer(images, None, steps=2)
        trainer.run()
        numbers[f"{arm.name} loss"] = trainer.history[-1]["loss"]
        for found in judge(run, trainer, images, 2)[0]:
            if found.measure.startswith(("bound", "total", "sampler", "slope", "FD")):
                numbers[f"{arm.name} {found.measure}"] = found.value
    return numbers


def publish(
    experiment: Experiment,
    scale: str,
    runs: Sequence[tuple[Run, Path]],
    grids: Mapping[str, tuple[Any, list[Measure]]],
    place: Path,
    seconds: float,
) -> None:
    """Gather the runs of an experiment into its folder, which appears whole or not at all."""
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    measures = [row for _, rows in grids.values() for row in rows]
    curves, weights, samples = list[tuple[Any, ...]](), dict[str, Tensor](), dict[str, Tensor]()
    for run, folder in runs:
        for budget in experiment.budgets_of(run.seed):
            measures += [
                Measure(*row) for row in json.loads((folder / f"measures-{budget}.json").read_bytes())
            ]
        curve = json.loads((folder / "curve.json").read_bytes())
        curves += [(run.arm.name, run.seed, record["step"], record["loss"]) for record in curve]
        if run.seed == 0:
            own = load_file(folder / "weights.safetensors")
            weights |= {f"{run.arm.name}/{key}": value for key, value in own.items()}
            samples[run.arm.name] = load_file(folder / "samples.safetensors")["samples"]
    images = images_of(experiment.data, experiment.samples)
    weights["spectrum"] = images.spectrum
    samples["real"] = images.restored(images.test[:16]).half()
    contents = {
        "table.csv": _csv(Measure._fields, measures),
        "curves.csv": _csv(("arm", "seed", "step", "loss"), curves),
        "weights.safetensors": save(weights),
        "samples.safetensors": save(samples),
    }
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
        **_provenance(),
        "files": files,
        "fingerprint": {key: float(f"{value:.6g}") for key, value in fingerprint(experiment).items()},
    }
    checkpoints.write(partial / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
    shutil.rmtree(place, ignore_errors=True)
    os.replace(partial, place)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Comma-separated values, six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in rows)
    return text.getvalue().encode()


def _provenance() -> dict[str, Any]:
    """Commit, versions and hardware."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "commit": git.stdout.strip() or None,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count(), "processor": _cpu(), "gpu": gpu},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
