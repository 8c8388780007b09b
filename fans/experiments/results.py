"""What an experiment leaves in ``results/NAME``, and whether it is still what the code would give.

A folder holds ``table.csv`` (every measure), ``curves.csv`` (training losses), ``weights.safetensors`` (the
averaged weights of seed 0 after the last budget, in half precision), ``samples.safetensors`` and
``manifest.json``, written last. The manifest has the configuration, the commit, versions, hardware, the
seconds of the call that finished it, the SHA-256 of every file, and a *fingerprint*: the numbers of the
experiment's smoke form, which trains every arm for two steps on the first images. A folder is stale when its
configuration is no longer that of the experiment, a file is another, or the fingerprint of today's code and
data differs.

Tables are reproducible: on one machine with the same packages, and without a GPU, to the last digit, however
often a run was interrupted and however many workers shared it; all but ``step time``, which is a clock's.
Other machines round differently, and training amplifies that. With other convolution kernels, as a stand-in
for another machine, fingerprints (two steps) agreed to 3e-5 of ``1 + |value|``, where ``TOLERANCE`` allows
2e-3; after 450 steps band errors agreed to 0.001 dB for one arm and 0.07 dB for another, and bounds to
2e-4 nat. Expect 0.1 dB across machines, less than seeds differ by.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from safetensors.torch import load_file
from torch import Tensor, nn

from fans.diffusion import SpectralProcess
from fans.experiments import registry
from fans.experiments.config import Experiment, Scale
from fans.experiments.data import images_of
from fans.experiments.denoising import DenoisingRun
from fans.experiments.kinds import run_of
from fans.experiments.machine import Alone, one_thread
from fans.metrics.features import extract

FORMAT = "fans results, version 1"
TOLERANCE = 2e-3  # of the fingerprint: machines round differently, changed code differs more
_KEYS = {
    "config": dict,
    "mean": float,
    "deviation": float,
    "chosen": dict,
    "files": dict,
    "fingerprint": dict,
}


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
        """Images of seed 0 after the last budget, (16, C, H, W); those of ``"real"`` are held-out images.

        Raises:
            ValueError: no such arm.
        """
        name = arm if arm == "real" else self.arm(arm).name
        return load_file(self.folder / "samples.safetensors")[name].float()

    def arm(self, name: str) -> Any:
        """An arm by name, with the options that validation chose.

        Raises:
            ValueError: no such arm.
        """
        arms = {arm.name: arm for arm in self.experiment.arms}
        if name not in arms:
            raise ValueError(f"no arm {name!r} in {self.experiment.name}: it has {', '.join(arms)}")
        return replace(arms[name], options=self.manifest["chosen"].get(name, arms[name].options))

    def denoiser(self, name: str) -> tuple[SpectralProcess, nn.Module]:
        """Process and network of seed 0 after the last budget, for standardised images (``manifest``).

        Raises:
            ValueError: no such arm, or an experiment without denoisers.
        """
        arm, spectrum = self.arm(name), load_file(self.folder / "weights.safetensors")["spectrum"]
        run = run_of(self.experiment, arm, 0, arm.options, self.folder.parent)
        if not isinstance(run, DenoisingRun):
            raise ValueError(f"{self.experiment.name} trains no denoisers: `weights` has what it trained")
        noising = run.process(spectrum)
        network = run.network(noising, spectrum)
        network.load_state_dict(self.weights(name))
        return noising, network.eval().requires_grad_(False)

    def weights(self, name: str) -> dict[str, Tensor]:
        """What seed 0 of an arm learned, after the last budget.

        Raises:
            ValueError: no such arm.
        """
        tensors, prefix = load_file(self.folder / "weights.safetensors"), f"{self.arm(name).name}/"
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def home(folder: Path | str | None = None) -> Path:
    """The folder of results: the one given, else ``results`` here or in the nearest folder above.

    The search ends at the root of a repository, which gets a new one.
    """
    if folder is not None:
        return Path(folder)
    here = Path.cwd()
    known = (p for p in (here, *here.parents) if (p / "results").is_dir() or (p / ".git").exists())
    return next(known, here) / "results"


def load(name: str, *, folder: Path | str | None = None) -> Result:
    """Read the results of an experiment.

    Raises:
        ValueError: no such experiment.
        StaleError: there are none, a file is damaged, or the experiment has another configuration now.
    """
    registry.get(name, "smoke")
    place = home(folder) / name
    manifest = _manifest(place)
    experiment = registry.get(
        name, manifest["scale"], fid="inception" in manifest["config"].get("features", ())
    )
    _check_files(place, manifest["files"])
    _check_config(place, manifest["config"], experiment)
    table, curves = (pd.read_csv(place / f"{part}.csv") for part in ("table", "curves"))
    return Result(experiment, manifest, table, curves, place)


def _manifest(place: Path) -> dict[str, Any]:
    """The manifest of a folder, if it is one of ours."""
    file, remedy = place / "manifest.json", f"run `fans reproduce {place.name}`"
    if not file.is_file():
        raise StaleError(f"no results of {place.name!r} in {place.parent}: {remedy}")
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise StaleError(f"{file}: not readable ({error}); {remedy}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise StaleError(f"{file}: not a manifest of {FORMAT!r}; {remedy}")
    if found.get("name") != place.name:
        raise StaleError(f"{file}: the manifest of {found.get('name')!r}, not of {place.name!r}; {remedy}")
    wrong = [key for key, kind in _KEYS.items() if not isinstance(found.get(key), kind)]
    if wrong or found.get("scale") not in get_args(Scale):
        raise StaleError(f"{file}: {', '.join(wrong) or 'scale'} missing or of the wrong kind; {remedy}")
    return found


def _check_files(place: Path, files: Mapping[str, str]) -> None:
    for name, expected in files.items():
        file = place / Path(name).name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise StaleError(
                f"{file}: missing, or not the file that was written; restore it from version control or run"
                f" `fans reproduce {place.name}`"
            )


def _check_config(place: Path, then: Mapping[str, Any], experiment: Experiment) -> None:
    now = json.loads(json.dumps(experiment.plain()))
    different = [key for key in {**now, **then} if now.get(key) != then.get(key)]
    if different:
        changes = "; ".join(_change(key, then.get(key), now.get(key)) for key in different)
        raise StaleError(
            f"{place}: the experiment has another configuration now, other {changes}; run"
            f" `fans reproduce {place.name}`"
        )


def _change(key: str, then: Any, now: Any) -> str:
    """A key with both values, where they are short."""
    values = f"{key} (was {then!r}, is {now!r})"
    return values if len(values) < 100 else key


def check(name: str, *, folder: Path | str | None = None) -> Result:
    """The results of an experiment, if they are those of the present configuration, code and data.

    Raises:
        ValueError: no such experiment.
        StaleError: says what differs.
    """
    result = load(name, folder=folder)
    then = result.manifest["fingerprint"]
    now = fingerprint(result.experiment, result.folder.parent)
    different = differences(then, now)
    if different:
        first = different[0]
        what = "data, or features of images," if first.startswith("features") else "code or data"
        raise StaleError(
            f"{result.folder}: {what} changed, {len(different)} of {len(now)} numbers of the fingerprint"
            f" differ, first {first!r} (was {then.get(first)}, now {now.get(first)}); run"
            f" `fans reproduce {name}`"
        )
    return result


def fingerprint(experiment: Experiment, home: Path) -> dict[str, float]:
    """Numbers that change when configuration, code or data do: those of the experiment's smoke form.

    Loss and measures after two steps for every arm, and the mean of each named feature of four images. It is
    computed on the CPU in single precision with one thread, so that machines agree. Runs that build on the
    results of others add numbers of those.
    """
    small = replace(experiment.smoke(), budgets=(2,), precision="fp32")
    with one_thread():
        images = images_of(small.data, small.samples)
        own = [name for name in experiment.features if name != "inception"]  # which is not our code
        numbers = {f"features {name}": float(extract(name, images.test[:4]).mean()) for name in own}
        for arm, whole in zip(small.arms, experiment.arms, strict=True):
            run = run_of(small, arm, 0, arm.grid[0] if arm.grid else arm.options, None)
            course = run.trainer(images, None, steps=2, accelerator=Alone())
            course.run()
            numbers[f"{arm.name} loss"] = course.history[-1]["loss"]
            for found in run.judge(course, images, 2)[0]:
                if found.measure.startswith(run.telling):
                    numbers[f"{arm.name} {found.measure}"] = found.value
            numbers |= run_of(experiment, whole, 0, whole.options, home).inherited()
    return numbers


def differences(then: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Names of the numbers of two fingerprints that differ, in order."""
    return [key for key in {**now, **then} if not _same(then.get(key), now.get(key))]


def _same(then: float | None, now: float | None) -> bool:
    if then is None or now is None or isnan(then) or isnan(now):
        return then is not None and now is not None and isnan(then) and isnan(now)
    return then == now or abs(then - now) <= TOLERANCE * (1 + abs(then))
