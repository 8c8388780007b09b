"""Measures of a trained denoiser that need the network: its likelihood, and its samples with their terms."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fans.diffusion import Prediction, SpectralProcess, streams
from fans.diffusion.attribution import attribute, trace
from fans.diffusion.likelihood import bound
from fans.diffusion.samplers import SamplerLike
from fans.diffusion.sampling import sample
from fans.experiments.data import Images
from fans.experiments.kinds.samples import BANDS, SAMPLING_SEED

CHUNK = 512  # images drawn at once


@dataclass(frozen=True)
class TrainedDenoiser:
    """A network, and all that its judges need to know of it.

    Attributes:
        process: that it was trained for.
        network: with averaged weights, on the device that it runs on.
        images: all of the experiment.
        seed: of the run.
        count: of images drawn.
        sampler: of the images.
        prediction: of the network.
    """

    process: SpectralProcess
    network: nn.Module
    images: Images
    seed: int
    count: int
    sampler: SamplerLike
    prediction: Prediction

    @property
    def device(self) -> torch.device:
        """Where the network is; everything else is on the CPU."""
        return next(self.network.parameters()).device


def likelihood(denoiser: TrainedDenoiser) -> list[tuple[str, float, float | None, float | None]]:
    """The bound, with two standard errors, and its share per band; none where it does not exist."""
    if len(denoiser.process.check()):
        return []
    found = bound(
        denoiser.process,
        denoiser.network,
        denoiser.images.test[: min(denoiser.count, 128)].to(denoiser.device),
        denoiser.images.spectrum,
        generator=torch.Generator().manual_seed(SAMPLING_SEED),
        points=32 if denoiser.count > 100 else 5,
        prediction=denoiser.prediction,
        bands=BANDS,
    )
    ends = (found.value - 2 * found.error, found.value + 2 * found.error)
    shares = enumerate(found.bands.tolist())
    return [("bound", found.value, *ends), *((f"bound {b}", share, None, None) for b, share in shares)]


def draw(denoiser: TrainedDenoiser, steps: int) -> tuple[Tensor, list[tuple[str, float]]]:
    """Samples on the CPU, and the terms of their spectrum's error in each band."""
    process, network, images = denoiser.process, denoiser.network, denoiser.images
    channels = images.train.shape[1]
    options: dict[str, Any] = {
        "steps": steps,
        "sampler": denoiser.sampler,
        "prediction": denoiser.prediction,
        "device": denoiser.device,
    }
    parts, terms = [], list[tuple[str, float]]()
    for first in range(0, denoiser.count, CHUNK):
        shape = (min(CHUNK, denoiser.count - first), channels, *process.size)
        options["generator"] = streams(SAMPLING_SEED + denoiser.seed, shape[0], first=first)
        if first > 0:
            parts.append(sample(process, network, shape, **options).cpu())
            continue
        traced = trace(process, network, shape, **options)
        parts.append(traced.images.cpu())
        split = attribute(traced, images.spectrum, bands=BANDS)
        for name in ("sampler", "gain", "stray", "total"):
            terms += [(f"{name} {b}", value) for b, value in enumerate(getattr(split, name).tolist())]
    return torch.cat(parts), terms
