"""The images of an experiment, for training, validation and testing."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from fans.experiments.config import Data
from fans.images import load
from fans.spectrum import power_spectrum

HELD_OUT = 1  # seed of the images that no network is trained on; the training images have seed 0
_REMOTE = ("hub:", "folder:")  # sources with fixed originals, whose held-out images are another split
_CHUNK = 4096  # images in double precision at once


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
    train, rest = draw(count, seed=0), draw(2 * held_out, **elsewhere)
    mean, deviation = _moments(train)
    for x in (train, rest):
        x.sub_(mean).div_(deviation)  # in place: large sets fill the memory
    return Images(mean, deviation, train, rest[:held_out], rest[held_out:], _spectrum(train))


def _parts(x: Tensor) -> Iterator[Tensor]:
    return (part.double() for part in torch.split(x, _CHUNK))


def _moments(x: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of all values."""
    mean = float(sum(part.sum() for part in _parts(x))) / x.numel()
    square = float(sum((part - mean).square().sum() for part in _parts(x)))
    return mean, (square / (x.numel() - 1)) ** 0.5


def _spectrum(x: Tensor) -> Tensor:
    """Mean power over images and channels."""
    total = torch.stack([power_spectrum(part).sum((0, 1)) for part in _parts(x)]).sum(0)
    half = total[:, : x.shape[-1] // 2 + 1] / (x.shape[0] * x.shape[1])
    # Synthetic fields have no power at zero frequency, where colours that divide by it need some.
    return half.clamp(min=1e-6)
