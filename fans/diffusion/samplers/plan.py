"""What a sampler is: a linear plan, which images and power follow alike.

Stage k of a plan calls the denoiser once, at time t_k with state x_k. Per coefficient of the orthonormal DFT,

.. math:: x_{k+1} = \\sum_i A_i x_{k-i} + \\sum_j B_j \\hat x_{0,k-j} + S n, \\qquad n \\text{ white},

from the estimates of the image at this stage and earlier ones. One-step methods have A_0 and B_0 alone;
Heun's corrector needs the state before, multi-step methods earlier estimates, stochastic ones S.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from fans.diffusion.grids import check_grid
from fans.diffusion.process import SpectralProcess

_BLOCK = 64  # steps whose coefficients are computed at once: few calls, little memory


class Stages(NamedTuple):
    """K consecutive stages of a plan, float64, (K, H, W//2 + 1); (K, 1, 1) where frequencies are alike.

    Attributes:
        t: times of the calls of the denoiser, (K,).
        states: A_0, A_1, ..., on the state at this stage, the one before, ...
        estimates: B_0, B_1, ..., on the estimates of the image, likewise.
        noise: S, or None for a deterministic method.
    """

    t: Tensor
    states: tuple[Tensor, ...]
    estimates: tuple[Tensor, ...]
    noise: Tensor | None = None


class Sampler(ABC):
    """A method that gives the linear plan of any process on any grid.

    A sampler of your own says what ``stages`` does, and is known to ``sample``, ``sampled_spectrum`` and
    ``trace`` at once. Stages before the first do not exist: coefficients on them must be zero.

    >>> from fans.diffusion import white
    >>> class Restart(Sampler):  # noises the estimate afresh at every step
    ...     def stages(self, process, times):
    ...         s, t = times
    ...         a_s, s_s = process.signal(s), process.noise(s)
    ...         return Stages(t, (0 * a_s,), (a_s,), s_s)
    >>> [stages] = Restart().plan(white(size=(8, 8)), [1000, 500, 0])
    >>> [round(level, 3) for level in stages.noise.flatten().tolist()]
    [0.707, 0.0]
    """

    reach: ClassVar[int] = 2  # times that a step depends on: where it goes, where it is, where it was, ...

    @abstractmethod
    def stages(self, process: SpectralProcess, times: Tensor) -> Stages:
        """The stages of K consecutive steps.

        Args:
            process: noising process.
            times: int64 (reach, K): where each step goes, where it is, where the one before was, ...; time
                stands still before the first step.
        """

    def plan(self, process: SpectralProcess, grid: Sequence[int] | Tensor) -> Iterator[Stages]:
        """All stages for a grid T ... 0, in blocks that are computed when they are needed.

        Raises:
            ValueError: a grid that does not descend from T to 0, or a process that the method cannot serve.
        """
        grid = check_grid(process, grid)
        times = torch.cat([grid[:1].expand(self.reach - 2), grid])
        for window in torch.split(times.unfold(0, self.reach, 1), _BLOCK):
            yield self.stages(process, window.flip(1).T)

    def calls(self, steps: int) -> int:
        """Number of stages of a plan of so many steps, each of which calls the denoiser once."""
        return steps


def with_gains(
    plan: Iterable[Stages], gains: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Stages, list[Tensor]]]:
    """Each block of a plan, and the gains of the estimates that it uses.

    Args:
        plan: of a sampler.
        gains: from times (K,) to whatever turns states into estimates, (M, K, h, w).

    Yields:
        The block; and for j = 0, 1, ... the gains of the estimates j stages before, (M, K, h, w).
    """
    past: Tensor | None = None
    for block in plan:
        rows, back = gains(block.t), len(block.estimates) - 1
        if past is None:
            past = rows[:, :1].expand(-1, back, -1, -1)  # any value: coefficients on it are zero
        rows, count = torch.cat([past, rows], 1), len(block.t)
        past = rows[:, count:]
        yield block, [rows[:, back - j : back - j + count] for j in range(back + 1)]


def stacked(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Stack what is equal at all frequencies with what is not."""
    return torch.stack(list(torch.broadcast_tensors(*tensors)), dim)  # type: ignore[no-untyped-call]


def combined(block: Stages, gains: Sequence[Tensor]) -> list[Tensor]:
    """``A_i + B_i g_i``, all that the state i stages before contributes if its estimate is ``g_i x``."""
    zero = torch.zeros(len(block.t), 1, 1, dtype=torch.float64)
    linear = [B * g for B, g in zip(block.estimates, gains, strict=True)]
    return [A + Bg for A, Bg in zip_longest(block.states, linear, fillvalue=zero)]
