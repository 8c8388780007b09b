"""Every measure of a trained denoiser, as one table."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fans.diffusion import SpectralProcess, streams
from fans.diffusion.attribution import attribute, trace
from fans.diffusion.likelihood import bound
from fans.diffusion.sampling import sample
from fans.experiments.config import Arm, Denoising
from fans.experiments.data import Images
from fans.experiments.run import SHOWN, Measure
from fans.metrics.evaluation import evaluate

SAMPLING_SEED = 1000  # of the noise that samples start from, plus the seed of the run
BANDS = 8
CHUNK = 512  # images drawn at once


class Judged(NamedTuple):
    """A network, and all that its judges need to know of it.

    Attributes:
        experiment, arm, seed: which one.
        process: that it was trained for.
        denoiser: with averaged weights, on the device that it runs on.
        images: all of the experiment.
    """

    experiment: Denoising
    arm: Arm
    seed: int
    process: SpectralProcess
    denoiser: nn.Module
    images: Images

    @property
    def device(self) -> torch.device:
        """Where the network is; everything else is on the CPU."""
        return next(self.denoiser.parameters()).device


def judge(case: Judged, budget: int) -> tuple[list[Measure], Tensor]:
    """Every measure: likelihood, samples, and what their errors are made of; and some of the samples."""
    place, images = (case.arm.name, case.seed, budget), case.images
    found = [
        Measure(*place, None, name, value, unit="nat", low=low, high=high)
        for name, value, low, high in _likelihood(case)
    ]
    for steps in case.experiment.sampler_steps:
        drawn, terms = draw(case, steps)
        found += [Measure(*place, steps, name, value, unit="dB") for name, value in terms]
        result = evaluate(
            images.restored(drawn),
            images.restored(images.test),
            features=case.experiment.features,
            bands=BANDS,
            resamples=200,
        )
        found += [
            Measure(*place, steps, row.measure, row.value, row.low, row.high, row.floor, row.unit)
            for row in result.table()
        ]
    return found, images.restored(drawn[:SHOWN])


def _likelihood(case: Judged) -> list[tuple[str, float, float | None, float | None]]:
    """The bound, with two standard errors, and its share per band; none where it does not exist."""
    if len(case.process.check()):
        return []
    count = case.experiment.samples
    found = bound(
        case.process,
        case.denoiser,
        case.images.test[: min(count, 128)].to(case.device),
        case.images.spectrum,
        generator=torch.Generator().manual_seed(SAMPLING_SEED),
        points=32 if count > 100 else 5,
        prediction=case.arm.prediction,
        bands=BANDS,
    )
    ends = (found.value - 2 * found.error, found.value + 2 * found.error)
    shares = enumerate(found.bands.tolist())
    return [("bound", found.value, *ends), *((f"bound {b}", share, None, None) for b, share in shares)]


def draw(case: Judged, steps: int) -> tuple[Tensor, list[tuple[str, float]]]:
    """Samples on the CPU, and the terms of their spectrum's error in each band."""
    channels, count = case.images.train.shape[1], case.experiment.samples
    options: dict[str, Any] = {
        "steps": steps,
        "method": case.arm.method,
        "prediction": case.arm.prediction,
        "device": case.device,
    }
    parts, terms = [], list[tuple[str, float]]()
    for first in range(0, count, CHUNK):
        shape = (min(CHUNK, count - first), channels, *case.process.size)
        options["generator"] = streams(SAMPLING_SEED + case.seed, shape[0], first=first)
        if first > 0:
            parts.append(sample(case.process, case.denoiser, shape, **options).cpu())
            continue
        traced = trace(case.process, case.denoiser, shape, **options)
        parts.append(traced.images.cpu())
        split = attribute(traced, case.images.spectrum, bands=BANDS)
        for name in ("sampler", "gain", "stray", "total"):
            terms += [(f"{name} {b}", value) for b, value in enumerate(getattr(split, name).tolist())]
    return torch.cat(parts), terms
