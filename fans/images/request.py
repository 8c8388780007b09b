"""What a caller asked for, checked once, and the random streams that follow from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "test", "validation"]
SPLITS: tuple[Split, ...] = get_args(Split)
SMALLEST = 8  # pixels; below this a spectrum has too few rings to speak of

# SeedSequence pads with zeros, so that [seed, split, i] is also stream 0: further streams start at 1.
NOISE, ORDER = 1, 2


@dataclass(frozen=True)
class Request:
    """A checked call of ``load``: which images, how many, how large, from which random stream.

    Attributes:
        name: The data set's name as the caller wrote it.
        size: Height and width in pixels.
        count: Number of images.
        seed: Seed of the data set.
        split: ``"train"``, ``"test"`` or ``"validation"``.
        target: What follows the colon of ``folder:PATH`` and ``hub:DATASET``, else empty.
    """

    name: str
    size: int
    count: int
    seed: int
    split: Split
    target: str = ""

    def rng(self, index: int, *stream: int) -> np.random.Generator:
        """The generator of image ``index``, which depends on (seed, split, index) and nothing else."""
        return np.random.default_rng([self.seed, SPLITS.index(self.split), index, *stream])

    def order(self, total: int) -> NDArray[np.intp]:
        """A fixed random order of ``total`` originals; image i shows original ``order[i % total]``."""
        return self.rng(0, ORDER).permutation(total)

    def stack(self, draw: Callable[[np.random.Generator], NDArray[Any]]) -> NDArray[np.float32]:
        """Draw every image from its own generator; (C, H, W) each, (N, C, H, W) together."""
        return np.stack([draw(self.rng(i)).astype(np.float32) for i in range(self.count)])


def crop(rng: np.random.Generator, picture: NDArray[Any], size: int) -> NDArray[Any]:
    """A square of ``size`` pixels at a uniformly random place of ``picture`` (C, H, W)."""
    top, left = (int(rng.integers(length - size + 1)) for length in picture.shape[1:])
    return picture[:, top : top + size, left : left + size]


def to_range(pixels: NDArray[Any], *, white: float = 255.0) -> NDArray[np.float32]:
    """Map 0..white to [-1, 1]."""
    return (pixels * np.float32(2.0 / white) - np.float32(1.0)).astype(np.float32)


def padded(images: NDArray[Any], size: int) -> NDArray[Any]:
    """Small images (..., h, w) in the middle of an empty background of ``size`` pixels."""
    rows, columns = (((size - n) // 2, size - n - (size - n) // 2) for n in images.shape[-2:])
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [rows, columns])
