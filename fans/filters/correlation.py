"""How much the DFT coefficients of a small filter depend on each other, by formula and by experiment."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fans.spectrum import Size


class Estimate(NamedTuple):
    """A mean over draws and its standard error.

    Attributes:
        mean: complex (d, d).
        stderr: root mean square of ``|mean - truth|``, both parts together, real (d, d).
    """

    mean: Tensor
    stderr: Tensor


def dirichlet(k: int, d: int, *, dims: Literal[1, 2] = 1, first: int = 0) -> Tensor:
    r"""Spectrum of a window of k taps on d bins, the Dirichlet kernel; the source's Sinc for ``dims=2``.

    .. math:: D(u) = \sum_{m=m_0}^{m_0+k-1} e^{-2\pi i um/d}
        = \frac{\sin(\pi uk/d)}{\sin(\pi u/d)}\, e^{-2\pi i u (m_0 + (k-1)/2)/d}, \qquad D(0) = k

    The DFT is not normalised. The phase tells where the window is: its centre lies at m0 + (k-1)/2. A window
    longer than the grid wraps around.

    Args:
        k: number of taps.
        d: number of bins.
        dims: 2 for a k x k window, ``D(u) D(v)``.
        first: m0, place of the first tap.

    Returns:
        complex128, (d,) or (d, d).

    >>> dirichlet(2, 4).real.round(decimals=9).tolist()  # 1 + e^(-i pi u / 2)
    [2.0, 1.0, 0.0, 1.0]
    """
    _at_least_one(k=k, d=d)
    u = torch.arange(d, dtype=torch.float64)
    height = torch.sin(torch.pi * u * k / d) / torch.sin(torch.pi * u / d)
    height[0] = k
    kernel: Tensor = height * torch.exp(-2j * torch.pi * u * (first + (k - 1) / 2) / d)
    return kernel if dims == 1 else kernel[:, None] * kernel


def filter_correlation(k: int, d: int) -> Tensor:
    r"""Correlation of the coefficients of a k x k filter on a d x d grid, for uncorrelated taps.

    .. math:: \mathrm{corr}(U, V) = \frac{E[U V^*]}{\sqrt{E|U|^2\, E|V|^2}}
        = \frac{D(u_0 - u_1)\, D(v_0 - v_1)}{k^2}, \qquad U = F(u_0, v_0),\ V = F(u_1, v_1)

    with `dirichlet`'s D: it depends on the lag only, and not on whether the taps are Gaussian. The taps need
    equal variance and no correlation between them; those of a trained filter may have lost both, which
    `measured_correlation` tells. Zero does not mean independent: a real filter has F(-u, -v) = F(u, v)*.

    Returns:
        complex128 (d, d); ``[a, b]`` is for the lag (a, b) modulo d, 1 at ``[0, 0]``.

    >>> filter_correlation(3, 16)[1, 1].abs().item()
    0.9010...
    """
    return dirichlet(k, d, dims=2) / k**2


def adjacent_correlation(k: int | Tensor, d: int | Tensor, *, diagonal: bool = True) -> Tensor:
    r"""Modulus of the correlation of adjacent coefficients.

    .. math:: \left(\frac{\sin(\pi k/d)}{k \sin(\pi/d)}\right)^2 \approx 1 - \frac{\pi^2 (k^2 - 1)}{3 d^2}

    for diagonal neighbours; the root of it along an axis. For k <= d it falls with k and rises with d. That
    is so for neighbours only: correlations at larger lags go up and down.

    Args:
        k, d: number of taps and of bins per axis, numbers or tensors that broadcast; d at least 2.
        diagonal: lag (1, 1) rather than (0, 1).

    Returns:
        float64, of the common shape.

    >>> adjacent_correlation(3, torch.tensor([4, 8, 16, 32])).tolist()
    [0.1111..., 0.6476..., 0.9010..., 0.9745...]
    """
    k, d = (torch.as_tensor(n, dtype=torch.float64) for n in (k, d))
    if (k < 1).any() or (d < 2).any():
        raise ValueError("adjacent bins need at least one tap and two bins")
    along = (torch.sin(torch.pi * k / d) / (k * torch.sin(torch.pi / d))).abs()
    return along.square() if diagonal else along


def filter_spectrum(filters: Tensor, size: Size) -> Tensor:
    r"""Response of filters on a grid, ``F(u, v) = sum_mn F_mn exp(-2 pi i (um/H + vn/W))``.

    Tap [0, 0] is at the origin. Filters larger than the grid wrap around, as they do in `convolve`; a padded
    ``fft2`` would cut them off.

    Args:
        filters: real (..., k, k).
        size: (H, W).

    Returns:
        complex (..., H, W), float64 precision.

    >>> bool((filter_spectrum(torch.ones(3, 3), (4, 4)) - dirichlet(3, 4, dims=2)).abs().max() < 1e-14)
    True
    """
    rows, columns = (_waves(taps, bins) for taps, bins in zip(filters.shape[-2:], size, strict=True))
    spectrum: Tensor = rows @ filters.to("cpu", torch.complex128) @ columns.T
    return spectrum


def measured_correlation(filters: Tensor, d: int, *, base: tuple[int, int] = (0, 0)) -> Estimate:
    r"""Correlation over a set of filters between one coefficient and all others.

    ``mean[a, b]`` is the sample correlation r of U = F(base + (a, b)) with V = F(base). Its error comes from
    the influence of each filter on it,

    .. math:: \psi = \tilde U \tilde V^* - \tfrac r2 (|\tilde U|^2 + |\tilde V|^2), \qquad
        \mathrm{stderr}^2 = \overline{|\psi|^2} / N

    with standardised coefficients. The base stays in place on purpose: the mean of U V* over all bases is
    the DFT of the squared taps, the same whether taps are correlated or not.

    Args:
        filters: (..., k, k), drawn or trained; every leading axis is averaged.
        d: number of bins per axis.
        base: coefficient that the others are compared with.

    Returns:
        Mean and error, (d, d). NaN where a coefficient does not vary.

    Raises:
        ValueError: fewer than two filters.
    """
    taps = filters.reshape(-1, *filters.shape[-2:])
    if len(taps) < 2:
        raise ValueError("a correlation needs two filters or more: give a stack (N, k, k)")
    U = filter_spectrum(taps - taps.mean(0), (d, d)).roll((-base[0], -base[1]), (-2, -1))  # (N, d, d)
    U = U / U.abs().square().mean(0).sqrt()
    V = U[:, :1, :1]
    product = U * V.conj()
    r = product.mean(0)
    influence = product - r / 2 * (U.abs().square() + V.abs().square())
    return Estimate(r, (influence.abs().square().mean(0) / len(taps)).sqrt())


def sampled_correlation(
    k: int, d: int, count: int, generator: torch.Generator, *, base: tuple[int, int] = (0, 0)
) -> Estimate:
    """`filter_correlation` by experiment, from ``count`` filters with independent Gaussian taps.

    >>> mean, stderr = sampled_correlation(3, 8, 1000, torch.Generator().manual_seed(0))
    >>> bool((mean - filter_correlation(3, 8)).abs()[1, 1] < 4 * stderr[1, 1])
    True
    """
    _at_least_one(k=k, d=d)
    taps = torch.randn(count, k, k, generator=generator, dtype=torch.float64, device=generator.device)
    return measured_correlation(taps, d, base=base)


def _waves(taps: int, bins: int) -> Tensor:
    """exp(-2 pi i u m / bins), (bins, taps)."""
    turns = torch.outer(torch.arange(bins), torch.arange(taps)) % bins
    return torch.exp(-2j * torch.pi * turns.double() / bins)


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} = {number}: a filter has at least one tap, a grid at least one bin")
