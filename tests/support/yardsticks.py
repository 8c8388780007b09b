"""What a radial spectrum must do, as gates that any estimator can be put through, and how fast it is.

A gate takes an estimator, a size and a relative tolerance, and raises AssertionError where the estimator
fails. Tests put `fans` and its mutants through them, the benchmark its competitors.
"""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Size = tuple[int, int]
Floats = NDArray[np.float64]


class Radial(NamedTuple):
    """Frequency (K,) in cycles per pixel, mean power (..., K), number of coefficients (K,)."""

    frequency: Floats
    power: Floats
    count: Floats


Estimator = Callable[[Floats], Radial]
Gate = Callable[[Estimator, Size, float], None]


def grid(size: Size) -> tuple[Floats, Floats]:
    """Row and column of each pixel."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(float)
    return rows, columns


def waves(size: Size) -> list[tuple[int, int]]:
    """Cycles per image (vertical, horizontal): both axes at every frequency, and 3-4-5 diagonals."""
    height, width = size
    axes = [(k, 0) for k in range(1, height // 2 + 1)] + [(0, k) for k in range(1, width // 2 + 1)]
    tilted = [(a * m, b * m) for a, b in ((3, 4), (4, 3), (4, 4)) for m in range(1, min(size) // 8 + 1)]
    return axes + [(k, l) for k, l in tilted if is_345(k / height, l / width)]


def is_345(fy: float, fx: float) -> bool:
    return abs(max(fy, fx) / np.hypot(fy, fx) - 4 / 5) < 1e-9


# ---------------------------------------------------------------- gates


def plane_waves_land(estimate: Estimator, size: Size, tolerance: float) -> None:
    """A plane wave's power is in one ring, whose frequency is the wave's within half a ring.

    In oblong images a wave may lie between two rings, which adds its distance from the nearer one.
    """
    rows, columns = grid(size)
    for k, l in waves(size):
        spectrum = estimate(np.cos(2 * np.pi * (k * rows / size[0] + l * columns / size[1])))
        held = spectrum.power * spectrum.count
        ring = int(np.argmax(held))
        assert held[ring] > (1 - tolerance) * held.sum(), (k, l)
        true = np.hypot(k / size[0], l / size[1])
        between = abs(true * min(size) - round(true * min(size)))
        assert abs(spectrum.frequency[ring] - true) * min(size) <= 0.5 + between, (k, l)


def axes_are_alike(estimate: Estimator, size: Size, tolerance: float) -> None:
    """Transposing and turning by 90 degrees, which keep every radial frequency, change nothing."""
    x = np.random.default_rng(0).standard_normal(size)
    straight = estimate(x)
    for turned in (x.T, np.rot90(x), np.rot90(x, 2), x[::-1], x[:, ::-1]):
        other = estimate(np.ascontiguousarray(turned))
        np.testing.assert_allclose(other.power, straight.power, rtol=tolerance)
        np.testing.assert_allclose(other.frequency, straight.frequency, rtol=tolerance)


def flat_stays_flat(estimate: Estimator, size: Size, tolerance: float) -> None:
    """A single bright pixel has the same power at every frequency."""
    x = np.zeros(size)
    x[size[0] // 3, size[1] // 2] = (size[0] * size[1]) ** 0.5
    np.testing.assert_allclose(estimate(x).power, 1, rtol=tolerance)


def a_constant_is_at_zero(estimate: Estimator, size: Size, tolerance: float) -> None:
    """The power of a constant image is all at frequency zero."""
    spectrum = estimate(np.full(size, 0.7))
    assert spectrum.frequency[0] == 0 and spectrum.count[0] == 1
    np.testing.assert_allclose(spectrum.power[0], 0.49 * size[0] * size[1], rtol=tolerance)
    assert (spectrum.power[1:] <= tolerance * spectrum.power[0]).all()


def energy_is_kept(estimate: Estimator, size: Size, tolerance: float) -> None:
    """Parseval: every coefficient counts once, so that powers times counts add up to the sum of squares."""
    x = np.random.default_rng(1).standard_normal((5, *size)) + 0.5
    spectrum = estimate(x)
    assert spectrum.count.sum() == size[0] * size[1]
    np.testing.assert_allclose(
        (spectrum.power * spectrum.count).sum(-1), (x**2).sum((-2, -1)), rtol=tolerance
    )


def white_noise_is_one(estimate: Estimator, size: Size, tolerance: float) -> None:
    """Unit white noise has power 1 at every ring within its error, and scatters as much as it must.

    A ring of c coefficients has variance 2 / c: they come in equal pairs of variance 1, or are real with 2.
    """
    images = 400
    spectrum = estimate(np.random.default_rng(2).standard_normal((images, *size)))
    z = (spectrum.power.mean(0) - 1) / np.sqrt(2 / (images * spectrum.count))
    # 4.5 deviations: one ring in 10^5 by chance; the rings of all sizes together are 200.
    assert np.abs(z).max() < 4.5, z
    # The mean of K squares is 1 with deviation sqrt(2 / K); again 4.5 of them.
    assert abs(np.mean(z**2) - 1) < 4.5 * np.sqrt(2 / len(z)), z


GATES: tuple[Gate, ...] = (
    plane_waves_land,
    axes_are_alike,
    flat_stays_flat,
    a_constant_is_at_zero,
    energy_is_kept,
    white_noise_is_one,
)


# ---------------------------------------------------------------- speed


@lru_cache
def _by_radius(size: Size) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Order of the shifted plane by radius, end and size of each ring of floor(radius)."""
    rows, columns = (torch.arange(-(n // 2), (n - 1) // 2 + 1 + (n % 2 == 0)) for n in size)
    radius, order = torch.sort(torch.hypot(rows[:, None].double(), columns[None].double()).ravel())
    count = torch.bincount(radius.floor().long())
    return order, torch.cumsum(count, 0) - 1, count


def sort_and_cumsum(x: torch.Tensor) -> torch.Tensor:
    """Mean power in rings of floor(radius), (..., K), as published code for generative models has it.

    Full complex transform, the Nyquist row and column of even sizes repeated on the other side,
    coefficients sorted by radius, differences of their cumulative sum. Only the order is kept
    from call to call.
    """
    spectrum = torch.fft.fftn(torch.complex(x, torch.zeros_like(x)), dim=(-2, -1), norm="ortho")
    power = torch.fft.fftshift(spectrum, dim=(-2, -1)).abs() ** 2
    for axis in (-2, -1):
        if power.shape[axis] % 2 == 0:
            power = torch.cat([power, power.narrow(axis, 0, 1)], axis)
    order, ends, count = _by_radius((x.shape[-2], x.shape[-1]))
    sums = power.flatten(-2)[..., order].cumsum(-1)[..., ends]
    return torch.diff(sums, prepend=torch.zeros_like(sums[..., :1])) / count


def timings(candidates: Mapping[str, Callable[[], object]], *, rounds: int, calls: int) -> dict[str, Floats]:
    """Seconds per call of each candidate in each round.

    All candidates take their turn in every round, so that a disturbance meets them alike; each is called once
    before it is timed, so that none runs in the cache that another has left.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            run()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            seconds[name].append((time.perf_counter() - start) / calls)
    return {name: np.array(values) for name, values in seconds.items()}
