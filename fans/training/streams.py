"""Random numbers of a training run, each a function of the seed and of where in the run it is used."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fans.diffusion import randn, streams
from fans.diffusion.losses import timesteps_at

_ORDER, _NOISE, _TIMESTEP, _LAYERS = range(1, 5)  # purposes of random numbers, each with seeds of its own


def derived_seed(seed: int, *key: int) -> int:
    """A seed of its own for every key."""
    return int(np.random.SeedSequence([seed, *key]).generate_state(1, np.uint64)[0]) >> 1


@lru_cache(maxsize=4)
def _permutation(seed: int, count: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(derived_seed(seed, _ORDER, epoch))
    return torch.randperm(count, generator=generator)


def order(seed: int, count: int, numbers: range) -> Tensor:
    """Which of ``count`` images are numbers n of a run: each epoch is a permutation of all of them.

    >>> sorted(order(0, 5, range(5, 10)).tolist())
    [0, 1, 2, 3, 4]
    """
    return torch.stack([_permutation(seed, count, n // count)[n % count] for n in numbers])


def timesteps(seed: int, step: int, batch: int, probability: Tensor) -> Tensor:
    """Timesteps of a batch: equally spaced quantiles, shifted at random, which scatter less than free draws.

    >>> timesteps(0, 7, 4, torch.tensor([0.0, 0.5, 0.5])).tolist()
    [2, 2, 1, 1]
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, _TIMESTEP, step))
    shift = torch.rand((), generator=generator, dtype=torch.float64)
    return timesteps_at(probability, (shift + torch.arange(batch) / batch) % 1)


def noise(seed: int, shape: tuple[int, ...], first: int, *, device: torch.device | str = "cpu") -> Tensor:
    """White noise for images ``first, first + 1, ...`` of a run, drawn on the CPU, each with its own stream.

    >>> bool((noise(0, (2, 1, 4, 4), 5)[1] == noise(0, (1, 1, 4, 4), 6)[0]).all())
    True
    """
    return randn(shape, streams(derived_seed(seed, _NOISE), shape[0], first=first), device=device)


def seed_layers(seed: int, step: int, process_index: int) -> None:
    """Seed torch's global generators, which dropout draws from, for one step of one process."""
    torch.manual_seed(derived_seed(seed, _LAYERS, step, process_index))


@contextmanager
def seeds_kept(device: torch.device) -> Iterator[None]:
    """Leave torch's global generators as they were, although the loop seeds them at each step."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
