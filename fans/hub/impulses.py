"""Unit impulses in the place of a scheduler's noise, which show what it does with each draw.

Schedulers draw noise with ``randn_tensor`` of their module, or from a Brownian path. While a hook is set,
both return what the hook says; on leaving the context everything is as before.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

NoiseDraw = Callable[[torch.Size], Tensor]
Increment = Callable[[torch.Size, float, float], Tensor]


class Count:
    """First pass: no noise at all, and a list of what was asked for.

    Attributes:
        draws: number of independent draws.
        ends: where the increments of the Brownian path began and ended.
    """

    def __init__(self) -> None:
        self.draws = 0
        self.ends: set[float] = set()

    def draw(self, shape: torch.Size) -> Tensor:
        self.draws += 1
        return torch.zeros(shape, dtype=torch.float64)

    def increment(self, shape: torch.Size, start: float, end: float) -> Tensor:
        self.ends |= {start, end}
        return torch.zeros(shape, dtype=torch.float64)

    @property
    def rows(self) -> int:
        """Number of independent standard normal variables behind all that was drawn."""
        return self.draws + max(len(self.ends) - 1, 0)


class Impulses:
    """Second pass: row 1 + j of the batch gets a one wherever variable j enters, row 0 gets none.

    Increments of a Brownian path over intervals that overlap are correlated. The path is cut at all ends,
    so that its pieces are independent, and an increment over several pieces is the sum of their impulses.
    """

    def __init__(self, counted: Count) -> None:
        self.draws = counted.draws
        self.cuts = sorted(counted.ends)
        self.drawn = 0

    def draw(self, shape: torch.Size) -> Tensor:
        self.drawn += 1
        out = torch.zeros(shape, dtype=torch.float64)
        out[self.drawn] = 1
        return out

    def increment(self, shape: torch.Size, start: float, end: float) -> Tensor:
        low, high = sorted((self.cuts.index(start), self.cuts.index(end)))
        cuts = torch.tensor(self.cuts[low : high + 1], dtype=torch.float64)
        out = torch.zeros(shape, dtype=torch.float64)
        first = 1 + self.draws + low
        share = (cuts.diff() / (cuts[-1] - cuts[0])).sqrt()
        out[first : first + len(share)] = share.reshape(-1, *[1] * (len(shape) - 1))
        return out


@contextmanager
def noise_from(scheduler: Any, hook: Count | Impulses) -> Iterator[None]:
    """Let the scheduler draw from ``hook`` instead of a generator."""

    def randn_tensor(shape: Any, *args: Any, **options: Any) -> Tensor:
        return hook.draw(torch.Size(shape)).to(options.get("dtype") or torch.float64)

    modules = {sys.modules[base.__module__] for base in type(scheduler).__mro__}
    patched = [(m, name) for m in modules for name in _SOURCES if hasattr(m, name)]
    kept = [getattr(m, name) for m, name in patched]
    replacements = {"randn_tensor": randn_tensor, "BrownianTreeNoiseSampler": _path(hook)}
    try:
        for module, name in patched:
            setattr(module, name, replacements[name])
        yield
    finally:
        for (module, name), original in zip(patched, kept, strict=True):
            setattr(module, name, original)


_SOURCES = ("randn_tensor", "BrownianTreeNoiseSampler")


def _path(hook: Count | Impulses) -> Callable[..., Callable[[Any, Any], Tensor]]:
    """A noise sampler with the constructor of ``BrownianTreeNoiseSampler``, which normalises increments."""

    def sampler(x: Tensor, *args: Any, **options: Any) -> Callable[[Any, Any], Tensor]:
        return lambda start, end: hook.increment(x.shape, float(start), float(end)).to(x.dtype)

    return sampler
