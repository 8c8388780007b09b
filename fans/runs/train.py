"""One run of an experiment: an arm with a seed, trained through all budgets and judged after each."""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fans import checkpoints, process
from fans.attribution import attribute, trace
from fans.images import load
from fans.likelihood import bound
from fans.metrics import evaluate
from fans.nets import LinearDenoiser, Preconditioned, UNet, UNetConfig
from fans.process import SpectralProcess, plane_mean, streams
from fans.runs.config import Arm, Data, Experiment, Options
from fans.sampling import sample
from fans.spectrum import power_spectrum
from fans.training import Trainer, TrainingConfig

HELD_OUT = 1  # seed of the images that no network is trained on; the training images have seed 0
GRID_SEED = 100  # of the runs of a grid
SAMPLING_SEED = 1000  # of the noise that samples start from, plus the seed of the run
BANDS = 8
LINEAR_RATE = 10.0  # a gain takes larger steps than a weight of a network
CHUNK = 512  # images drawn at once
SHOWN = 16  # samples kept for figures
_REMOTE = ("hub:", "folder:")  # sources with fixed originals, whose held-out images are another split


class Measure(NamedTuple):
    """One number about one arm; what does not apply is None."""

    arm: str
    seed: int
    budget: int
    steps: int | None
    measure: str
    value: float
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class Images:
    """The images of an experiment, brought to mean 0 and variance 1 by those for training.

    Attributes:
        mean, deviation: what was subtracted, and then divided by.
        train, validate, test: (N, C, H, W).
        spectrum: mean power of the training images per coefficient, float64 (H, W//2 + 1).
    """

    mean: float
    deviation: float
    train: Tensor
    validate: Tensor
    test: Tensor
    spectrum: Tensor

    def restored(self, x: Tensor) -> Tensor:
        """Standardised images in their original range."""
        return x * self.deviation + self.mean


def images_of(data: Data, samples: int) -> Images:
    """Load the images of an experiment, three for every sample to compare with."""
    return _images(data.name, data.size, data.channels, data.count, 3 * samples, json.dumps(data.options))


@lru_cache(maxsize=2)
def _images(name: str, size: int, channels: int, count: int, held_out: int, options: str) -> Images:
    def draw(number: int, **place: Any) -> Tensor:
        x = load(name, size=size, count=number, **place, **json.loads(options))
        return x.mean(1, keepdim=True) if channels == 1 else x

    elsewhere = {"split": "test"} if name.startswith(_REMOTE) else {"seed": HELD_OUT}
    first, rest = draw(count, seed=0), draw(2 * held_out, **elsewhere)
    mean, deviation = float(first.double().mean()), float(first.double().std())
    train, validate, test = ((x - mean) / deviation for x in (first, rest[:held_out], rest[held_out:]))
    power = power_spectrum(train.double()).mean((0, 1))[:, : size // 2 + 1]
    # Synthetic fields have no power at zero frequency, where colours that divide by it need some.
    return Images(mean, deviation, train, validate, test, power.clamp(min=1e-6))


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
    if arm.precondition == "none":
        return network
    flat = plane_mean(spectrum, noising.size).expand_as(spectrum)
    return Preconditioned(network, noising, spectrum if arm.precondition == "spectral" else flat)


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

    def trainer(self, images: Images, folder: Path | None, *, steps: int) -> Trainer:
        """The training run, resumed from its folder."""
        experiment, arm = self.experiment, self.arm
        noising = process_of(arm, images.spectrum, experiment.timesteps, self.options)
        rate = experiment.rate * (LINEAR_RATE if arm.network == "linear" else 1)
        config = TrainingConfig(
            steps=max(steps, 1),
            batch=experiment.batch,
            seed=self.seed,
            prediction=arm.prediction,
            loss=arm.loss,
            rate=rate,
            decay="constant",
            ema=experiment.ema,
            precision=experiment.precision,
            log_every=max(1, steps // 24),
            save_every=2000,
        )
        network = network_of(arm, experiment, noising, images.spectrum, self.seed)
        # The preconditioner of the scalar control sees one number, and so does its loss.
        spectrum = images.spectrum if arm.precondition != "scalar" else network.spectrum
        return Trainer(network, images.train, noising, config, folder=folder, spectrum=spectrum)


def train(run: Run, folder: Path) -> None:
    """Train through all budgets, judge after each, and leave measures, curve, weights and samples.

    A budget that was judged before is not judged again.
    """
    torch.set_num_threads(1 if not torch.cuda.is_available() else torch.get_num_threads())
    images = images_of(run.experiment.data, run.experiment.samples)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = run.trainer(images, folder, steps=run.experiment.budgets[-1])
    main = trainer.accelerator.is_main_process
    for budget in run.experiment.budgets_of(run.seed):
        judged = folder / f"measures-{budget}.json"
        if not judged.exists():
            trainer.run(until=budget)
            if main:
                measures, shown = judge(run, trainer, images, budget)
                _write_tensors(folder / "samples.safetensors", {"samples": shown})
                checkpoints.write(judged, json.dumps(measures).encode())
        trainer.accelerator.wait_for_everyone()
    if main:
        _write_tensors(folder / "weights.safetensors", trainer.denoiser().state_dict())
        checkpoints.write(folder / "curve.json", json.dumps(trainer.history).encode())


def judge(run: Run, trainer: Trainer, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
    """Every measure of the averaged network: likelihood, samples, and what their errors are made of."""
    experiment, noising = run.experiment, trainer.process
    denoiser = trainer.denoiser().to(trainer.accelerator.device)
    place = (run.arm.name, run.seed, budget)
    found = [
        Measure(*place, None, name, value, unit="nat", low=low, high=high)
        for name, value, low, high in _likelihood(run, noising, denoiser, images)
    ]
    for steps in experiment.sampler_steps:
        drawn, terms = _drawn(run, noising, denoiser, images, steps)
        found += [Measure(*place, steps, name, value, unit="dB") for name, value in terms]
        result = evaluate(
            images.restored(drawn),
            images.restored(images.test),
            features=experiment.features,
            bands=BANDS,
            resamples=200,
        )
        found += [
            Measure(*place, steps, row.measure, row.value, row.low, row.high, row.floor, row.unit)
            for row in result.table()
        ]
    return found, images.restored(drawn[:SHOWN])


def _likelihood(
    run: Run, noising: SpectralProcess, denoiser: nn.Module, images: Images
) -> list[tuple[str, float, float | None, float | None]]:
    """The bound, with two standard errors, and its share per band; none where it does not exist."""
    if len(noising.check()):
        return []
    count = run.experiment.samples
    device = next(denoiser.parameters()).device
    found = bound(
        noising,
        denoiser,
        images.test[: min(count, 128)].to(device),
        images.spectrum,
        generator=torch.Generator().manual_seed(SAMPLING_SEED),
        points=32 if count > 100 else 5,
        prediction=run.arm.prediction,
        bands=BANDS,
    )
    ends = (found.value - 2 * found.error, found.value + 2 * found.error)
    shares = enumerate(found.bands.tolist())
    return [("bound", found.value, *ends), *((f"bound {b}", share, None, None) for b, share in shares)]


def _drawn(
    run: Run, noising: SpectralProcess, denoiser: nn.Module, images: Images, steps: int
) -> tuple[Tensor, list[tuple[str, float]]]:
    """Samples, and the terms of their spectrum's error in each band."""
    device = next(denoiser.parameters()).device
    channels, count = images.train.shape[1], run.experiment.samples
    parts, terms = [], list[tuple[str, float]]()
    for first in range(0, count, CHUNK):
        shape = (min(CHUNK, count - first), channels, *noising.size)
        generator = streams(SAMPLING_SEED + run.seed, shape[0], first=first)
        options: Any = {
            "generator": generator,
            "steps": steps,
            "method": run.arm.method,
            "prediction": run.arm.prediction,
            "device": device,
        }
        if first == 0:
            traced = trace(noising, denoiser, shape, **options)
            parts.append(traced.images.cpu())
            split = attribute(traced, images.spectrum, bands=BANDS)
            for name in ("sampler", "gain", "stray", "total"):
                values = enumerate(getattr(split, name).tolist())
                terms += [(f"{name} {band}", value) for band, value in values]
        else:
            parts.append(sample(noising, denoiser, shape, **options).cpu())
    return torch.cat(parts), terms


def choose(experiment: Experiment, arm: Arm, folder: Path) -> tuple[Options, list[Measure]]:
    """The options of a grid whose samples come closest to the validation images, and all distances."""
    done = folder / f"grid-{slug(arm)}.json"
    if not done.exists():
        images, name = images_of(experiment.data, experiment.samples), experiment.features[-1]
        distances = []
        for options in arm.grid:
            run = Run(experiment, replace(arm, options=options, grid=()), GRID_SEED, options)
            trainer = run.trainer(images, None, steps=experiment.grid_steps)
            trainer.run()
            denoiser = trainer.denoiser()
            drawn, _ = _drawn(run, trainer.process, denoiser, images, experiment.sampler_steps[0])
            pair = (images.restored(x) for x in (drawn, images.validate))
            result = evaluate(*pair, features=(name,), bands=BANDS, resamples=100)
            distances.append((result.generated.frechet[name], result.floor.frechet[name]))
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints.write(done, json.dumps(distances).encode())
    distances = json.loads(done.read_bytes())
    measures = [
        Measure(
            f"{arm.name} {' '.join(f'{key}={value:g}' for key, value in options.items())}",
            GRID_SEED,
            experiment.grid_steps,
            experiment.sampler_steps[0],
            f"FD_{experiment.features[-1]}",
            value,
            floor=floor,
        )
        for options, (value, floor) in zip(arm.grid, distances, strict=True)
    ]
    return arm.grid[int(np.argmin([value for value, _ in distances]))], measures


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Safetensors, single precision stored as half."""
    from safetensors.torch import save

    small = {
        name: (value.half() if value.dtype == torch.float32 else value).cpu().contiguous()
        for name, value in tensors.items()
    }
    checkpoints.write(path, save(small))
