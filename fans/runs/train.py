"""One run of an experiment: an arm with a seed, trained through all budgets and judged after each."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from fans import checkpoints, process
from fans.evaluation import evaluate
from fans.nets import LinearDenoiser, Preconditioned, UNet, UNetConfig
from fans.process import SpectralProcess, plane_mean
from fans.runs.config import Arm, Experiment, Options
from fans.runs.data import Images, images_of
from fans.runs.judge import BANDS, Judged, Measure, draw, judge
from fans.runs.machine import on_main, one_thread, processes
from fans.training import Record, Trainer, TrainingConfig

GRID_SEED = 100  # of the runs of a grid
LINEAR_RATE = 10.0  # a gain takes larger steps than a weight of a network


def process_of(arm: Arm, spectrum: Tensor, timesteps: int, options: Options | None = None) -> SpectralProcess:
    """The noising process of an arm, for data of this spectrum."""
    height, half = spectrum.shape
    common = {"size": (height, 2 * (half - 1)), "timesteps": timesteps}
    options = arm.options if options is None else options
    build = getattr(process, arm.process)
    if arm.process in ("white", "power_law"):
        made = build(**options, **common)
    else:
        made = build(spectrum, **options, **common)
    assert isinstance(made, SpectralProcess)
    return made


def _seen(arm: Arm, spectrum: Tensor) -> Tensor:
    """The spectrum as preconditioner and loss of an arm see it: one number for the scalar control."""
    if arm.precondition != "scalar":
        return spectrum
    height, half = spectrum.shape
    return plane_mean(spectrum, (height, 2 * (half - 1))).expand_as(spectrum)


def network_of(
    arm: Arm, experiment: Experiment, noising: SpectralProcess, spectrum: Tensor, seed: int
) -> nn.Module:
    """The network of an arm with its initial weights."""
    if arm.network == "linear":
        return LinearDenoiser(noising.size, noising.timesteps)
    sizes = UNetConfig(
        channels=experiment.data.channels,
        widths=experiment.widths,
        layers=experiment.layers,
        attention=experiment.attention,
        groups=experiment.groups,
    )
    network = UNet(sizes, seed=seed)
    return network if arm.precondition == "none" else Preconditioned(network, noising, _seen(arm, spectrum))


def slug(arm: Arm) -> str:
    """The name of an arm as part of a file name."""
    return "-".join(arm.name.replace(",", "").lower().split())


@dataclass(frozen=True)
class Run:
    """An arm with a seed, and the options of its process that validation may have chosen."""

    experiment: Experiment
    arm: Arm
    seed: int
    options: Options

    @property
    def folder(self) -> str:
        """Name of its folder among those of the experiment."""
        return f"{slug(self.arm)}-{self.seed}"

    def config(self, steps: int) -> TrainingConfig:
        """The numbers of its training."""
        experiment, arm = self.experiment, self.arm
        return TrainingConfig(
            steps=max(steps, 1),
            batch=experiment.batch,
            seed=self.seed,
            prediction=arm.prediction,
            loss=arm.loss,
            rate=experiment.rate * (LINEAR_RATE if arm.network == "linear" else 1),
            decay="constant",
            ema=experiment.ema,
            precision=experiment.precision,
            log_every=max(1, steps // 24),
            save_every=2000,
        )

    def trainer(self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None) -> Trainer:
        """The training run, resumed from its folder, in these or all launched processes."""
        noising = process_of(self.arm, images.spectrum, self.experiment.timesteps, self.options)
        network = network_of(self.arm, self.experiment, noising, images.spectrum, self.seed)
        return Trainer(
            network,
            images.train,
            noising,
            self.config(steps),
            folder=folder,
            spectrum=_seen(self.arm, images.spectrum),
            accelerator=accelerator,
        )

    def judged(self, trainer: Trainer, images: Images) -> Judged:
        """The averaged network as it is now."""
        denoiser = trainer.denoiser().to(trainer.accelerator.device)
        return Judged(self.experiment, self.arm, self.seed, trainer.process, denoiser, images)


def train(run: Run, folder: Path) -> None:
    """Train through all budgets, judge after each, and leave measures, curve, weights and samples.

    A budget that was judged before is not judged again. Of several processes, the main one judges and
    writes.
    """
    with one_thread(unless_cuda=True):
        images = images_of(run.experiment.data, run.experiment.samples)
        trainer = run.trainer(images, folder, steps=run.experiment.budgets[-1])
        for budget in run.experiment.budgets_of(run.seed):
            trainer.run(until=budget)
            on_main(trainer.accelerator, partial(_judge, run, trainer, images, folder, budget))
        on_main(trainer.accelerator, partial(_finish, trainer, folder))


def _judge(run: Run, trainer: Trainer, images: Images, folder: Path, budget: int) -> None:
    done = folder / f"measures-{budget}.json"
    if done.exists():
        return
    if trainer.step != budget:
        raise ValueError(
            f"{done} is missing, but the run is at step {trainer.step} already: delete {folder} to train anew"
        )
    measures, shown = judge(run.judged(trainer, images), budget)
    _write_tensors(folder / "samples.safetensors", {"samples": shown})
    checkpoints.write(done, json.dumps(measures).encode())


def _finish(trainer: Trainer, folder: Path) -> None:
    """Weights, and the curve last; the checkpoints, large for large networks, have served."""
    _write_tensors(folder / "weights.safetensors", trainer.denoiser().state_dict())
    checkpoints.write(folder / "curve.json", json.dumps(trainer.history).encode())
    for path in checkpoints.every(folder):
        shutil.rmtree(path, ignore_errors=True)


class Outcome(NamedTuple):
    """What a finished run left.

    Attributes:
        measures: of all budgets.
        curve: records of the training loss.
        weights: averaged, after the last budget, in half precision.
        samples: 16 images after the last budget.
    """

    measures: list[Measure]
    curve: list[Record]
    weights: dict[str, Tensor]
    samples: Tensor


def outcome(run: Run, folder: Path) -> Outcome:
    """Read what a run left.

    Raises:
        FileNotFoundError: it has not finished.
        ValueError: a file is damaged; names it.
    """
    rows = [
        row
        for budget in run.experiment.budgets_of(run.seed)
        for row in _read(folder / f"measures-{budget}.json", json.loads)
    ]
    return Outcome(
        [Measure(*row) for row in rows],
        _read(folder / "curve.json", json.loads),
        _read(folder / "weights.safetensors", load),
        _read(folder / "samples.safetensors", load)["samples"],
    )


def _read(path: Path, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(path.read_bytes())
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Safetensors, single precision stored as half."""
    small = {
        name: (value.half() if value.dtype == torch.float32 else value).cpu().contiguous()
        for name, value in tensors.items()
    }
    checkpoints.write(path, save(small))


def choose(experiment: Experiment, folder: Path, arm: Arm) -> tuple[Options, list[Measure]]:
    """The options of a grid whose samples come closest to the validation images, and all distances."""
    done, accelerator = folder / f"grid-{slug(arm)}.json", processes()
    distances: list[tuple[float, float]] = on_main(accelerator, partial(_distances, done))
    with one_thread(unless_cuda=True):
        for options in arm.grid[len(distances) :]:
            run = Run(experiment, replace(arm, options=options, grid=()), GRID_SEED, options)
            images = images_of(experiment.data, experiment.samples)
            trainer = run.trainer(images, None, steps=experiment.grid_steps)
            trainer.run()
            distances.append(on_main(accelerator, partial(_distance, run.judged(trainer, images))))
            on_main(accelerator, partial(checkpoints.write, done, json.dumps(distances).encode()))
    best = arm.grid[int(np.argmin([value for value, _ in distances]))]
    return best, [_grid_row(experiment, arm, *pair) for pair in zip(arm.grid, distances, strict=True)]


def _distances(done: Path) -> list[tuple[float, float]]:
    """Those of the first options of a grid, from an earlier call."""
    try:
        found: list[tuple[float, float]] = _read(done, json.loads)
    except (FileNotFoundError, ValueError):
        return []
    return found


def _distance(case: Judged) -> tuple[float, float]:
    """Distance of samples to the validation images, and its floor."""
    name, images = case.experiment.features[-1], case.images
    drawn, _ = draw(case, case.experiment.sampler_steps[0])
    pair = (images.restored(x) for x in (drawn, images.validate))
    result = evaluate(*pair, features=(name,), bands=BANDS, resamples=100)
    return result.generated.frechet[name], result.floor.frechet[name]


def _grid_row(experiment: Experiment, arm: Arm, options: Options, distance: tuple[float, float]) -> Measure:
    return Measure(
        f"{arm.name} {' '.join(f'{key}={value:g}' for key, value in options.items())}",
        GRID_SEED,
        experiment.grid_steps,
        experiment.sampler_steps[0],
        f"FD_{experiment.features[-1]}",
        distance[0],
        floor=distance[1],
    )
