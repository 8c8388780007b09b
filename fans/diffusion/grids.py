"""Time grids of samplers: descending integer timesteps from T to 0."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from fans.diffusion.checks import as_spectrum
from fans.diffusion.plane import Spectrum
from fans.diffusion.process import SpectralProcess

GridName = Literal["uniform", "equal_angle"]
Grid = GridName | Sequence[int] | Tensor
_BLOCK = 64  # timesteps whose levels are held at once


def uniform(process: SpectralProcess, steps: int) -> Tensor:
    """Timesteps T ... 0 at equal distance, int64 of shape (steps + 1,).

    Raises:
        ValueError: steps that are no integer from 1 to T.

    >>> from fans.diffusion import white
    >>> uniform(white(size=(8, 8)), 4).tolist()
    [1000, 750, 500, 250, 0]
    """
    _check_steps(process, steps)
    return torch.linspace(process.timesteps, 0, steps + 1, dtype=torch.float64).round().long()


def equal_angle(process: SpectralProcess, spectrum: Spectrum, steps: int) -> Tensor:
    """Timesteps T ... 0 that share the largest change of ``theta = atan2(s, a sqrt C)`` equally.

    A DDIM step with the exact denoiser multiplies the power at each frequency by the squared cosine of its
    change of theta. The grid is the best one where all frequencies change together (EqualSNR); elsewhere it
    puts steps where some frequency changes fastest. Timesteps are integers, since networks know no others,
    and differ.

    Args:
        process: noising process.
        spectrum: power of the data per coefficient; frequencies without power are left out.
        steps: number K of steps.

    Returns:
        int64 of shape (K + 1,).

    Raises:
        ValueError: steps that are no integer from 1 to T, or not a spectrum of the process's size.

    >>> from fans.diffusion import equal_snr
    >>> C = torch.ones(8, 5)
    >>> equal_angle(equal_snr(C, size=(8, 8)), C, 4).tolist()
    [1000, 750, 500, 250, 0]
    """
    _check_steps(process, steps)
    amplitude = as_spectrum(spectrum, process.size).sqrt()

    def theta(t: Tensor) -> Tensor:
        return torch.atan2(process.noise(t), process.signal(t) * amplitude)

    def largest_change(t: Tensor) -> Tensor:
        return torch.where(amplitude > 0, (theta(t + 1) - theta(t)).abs(), 0.0).amax((1, 2))

    change = torch.cat(
        [largest_change(t) for t in torch.split(torch.arange(process.timesteps), _BLOCK)]
    )  # (T,)
    travelled = torch.cat([change.new_zeros(1), change.cumsum(0)])
    wanted = torch.linspace(0, float(travelled[-1]), steps + 1, dtype=torch.float64)
    midpoints = (travelled[1:] + travelled[:-1]) / 2
    nearest = torch.searchsorted(midpoints, wanted)
    order = torch.arange(steps + 1)
    apart = (nearest - order).cummax(0).values.clamp(0, process.timesteps - steps) + order
    apart[0], apart[-1] = 0, process.timesteps
    return apart.flip(0)


def check_grid(process: SpectralProcess, timesteps: Sequence[int] | Tensor) -> Tensor:
    """The grid as int64 on the CPU, if it descends from T to 0.

    Raises:
        ValueError: not integers, or not descending from T to 0.
    """
    grid = torch.as_tensor(timesteps, device="cpu")
    ends = [process.timesteps, 0]
    if (
        grid.is_floating_point()
        or grid.ndim != 1
        or grid[[0, -1]].tolist() != ends
        or (grid.diff() >= 0).any()
    ):
        raise ValueError(f"timesteps must be integers that descend from T = {ends[0]} to 0, got {timesteps}")
    return grid.long()


def resolve_grid(process: SpectralProcess, grid: Grid, steps: int, spectrum: Spectrum | None) -> Tensor:
    """The timesteps that a name and a number of steps stand for, or the listed ones, checked."""
    if not isinstance(grid, str):
        return check_grid(process, grid)
    if grid == "uniform":
        return uniform(process, steps)
    if grid != "equal_angle":
        raise ValueError(f"grid={grid!r}: must be 'uniform', 'equal_angle' or descending timesteps T ... 0")
    if spectrum is None:
        raise ValueError("grid='equal_angle' needs spectrum=, the power of the data per coefficient")
    return equal_angle(process, spectrum, steps)


def _check_steps(process: SpectralProcess, steps: int) -> None:
    # bool is an int, too
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= process.timesteps:
        raise ValueError(
            f"steps={steps!r}: must be an integer from 1 to the process's T = {process.timesteps}"
        )
