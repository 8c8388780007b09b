"""What an experiment left in ``results/NAME``, and whether it is still what the code would give.

Manifests (``fans.experiments.store``) have a *fingerprint*: the numbers of the experiment's smoke form, where
every arm trains for two steps on the first images. A folder is stale when its configuration is no longer that
of the experiment, a file is another, or the fingerprint of today's code and data differs.

Tables are reproducible: on one machine with the same packages, and without a GPU, to the last digit, however
often a run was interrupted and however many workers shared it; all but ``step time``, which is a clock's.
Other machines round differently, and training amplifies that. With other convolution kernels, as a stand-in
for another machine, fingerprints (two steps) agreed to 3e-5 of ``1 + |value|``, where ``TOLERANCE`` allows
2e-3; after 450 steps band errors agreed to 0.001 dB for one arm and 0.07 dB for another, and bounds to
2e-4 nat. Expect 0.1 dB across machines, less than seeds differ by.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from fans.diffusion import SpectralProcess
from fans.experiments import registry, store
from fans.experiments.config import Experiment
from fans.experiments.machine import Alone, one_thread
from fans.experiments.store import StaleError, home
from fans.metrics.features import extract

TOLERANCE = 2e-3  # of the fingerprint: machines round differently, changed code differs more


@dataclass(frozen=True)
class Result:
    """A finished experiment.

    Attributes:
        experiment: its configuration.
        manifest: see ``fans.experiments.store``.
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
        return store.tensors(self.folder, "samples")[name].float()

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
        arm = self.arm(name)
        run = registry.run_of(self.experiment, arm, 0, arm.options, self.folder.parent)
        return run.denoiser(store.tensors(self.folder, "weights")["spectrum"], self.weights(name))

    def weights(self, name: str) -> dict[str, Tensor]:
        """What seed 0 of an arm learned, after the last budget.

        Raises:
            ValueError: no such arm.
        """
        tensors, prefix = store.tensors(self.folder, "weights"), f"{self.arm(name).name}/"
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def load(name: str, *, folder: Path | str | None = None) -> Result:
    """Read the results of an experiment.

    Raises:
        ValueError: no such experiment.
        StaleError: there are none, a file is damaged, or the experiment has another configuration now.
    """
    registry.get(name, "smoke")
    place = home(folder) / name
    manifest = store.manifest(place)
    experiment = registry.get(
        name, manifest["scale"], fid="inception" in manifest["config"].get("features", ())
    )
    store.check_files(place, manifest["files"])
    store.check_config(place, manifest["config"], experiment.plain())
    return Result(experiment, manifest, store.table(place, "table"), store.table(place, "curves"), place)


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
        images = registry.run_of(small, small.arms[0], 0, small.arms[0].options, None).images()
        own = [name for name in experiment.features if name != "inception"]  # which is not our code
        numbers = {f"features {name}": float(extract(name, images.test[:4]).mean()) for name in own}
        for arm, whole in zip(small.arms, experiment.arms, strict=True):
            run = registry.run_of(small, arm, 0, arm.grid[0] if arm.grid else arm.options, None)
            course = run.trainer(images, None, steps=2, accelerator=Alone())
            course.run()
            numbers[f"{arm.name} loss"] = course.history[-1]["loss"]
            for found in run.judge(course, images, 2)[0]:
                if found.measure.startswith(run.telling):
                    numbers[f"{arm.name} {found.measure}"] = found.value
            numbers |= registry.run_of(experiment, whole, 0, whole.options, home).inherited()
    return numbers


def differences(then: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Names of the numbers of two fingerprints that differ, in order."""
    return [key for key in {**now, **then} if not _same(then.get(key), now.get(key))]


def _same(then: float | None, now: float | None) -> bool:
    if then is None or now is None or isnan(then) or isnan(now):
        return then is not None and now is not None and isnan(then) and isnan(now)
    return then == now or abs(then - now) <= TOLERANCE * (1 + abs(then))
