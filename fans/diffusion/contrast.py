r"""What a sampler loses where contrast varies from image to image, and why: a law with one dimension.

Let an image be ``sqrt(c)`` times a Gaussian field of power C, and the contrast c one of a few with
probabilities p. At little signal all that x_t says about c lies in one number, the energy
``sum C |x_t|^2 / s_t^4``. Less its mean and over its deviation it is normal,

.. math:: \tau \sim N(\lambda c, 1), \qquad \lambda_t^2 = \tfrac12 \sum_w \mathrm{SNR}_t(w)^2,

with the sum over all coefficients and the SNR of ``c = 1``. The exact probability flow moves it by
``d tau = E[c | tau] d lambda``, and DDIM is Euler's method for it in ``mu = sqrt(lambda)``, which grows as
the signal level a does. Euler's method is late where the flow speeds up. With ``tau_j(lambda)`` the quantile
between contrast j and the next, ``rho`` the density there and ``delta`` the step in mu, the share of the
lower contrasts grows by

.. math:: \delta S_j = \int_0^\infty \delta(\mu)\, \rho_\lambda(\tau_j)\, d\!\left(\mu\, E[c | \tau_j]\right)

to first order in the step, and the power, at all frequencies alike, changes by
``-sum_j dS_j (c_{j+1} - c_j)`` over the mean of c. For K equal steps of the angle ``atan(s / a)`` from pure
noise, delta is ``pi / 2K`` times ``(sum C^2 / 2)^(1/4)``, C over the power of the noise: the loss falls as
1/K and, for white data, grows as the fourth root of the number of pixels. It holds for contrasts that are
told apart while every SNR is small, ``(c_{j+1} - c_j) lambda > 1`` at SNR 1; ``sampled_contrast`` needs no
such condition.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import softmax
from torch import Tensor

from fans.diffusion.checks import Timestep, as_spectrum
from fans.diffusion.grids import check_grid
from fans.diffusion.plane import Spectrum, plane_mean
from fans.diffusion.process import SpectralProcess
from fans.diffusion.samplers import Sampler, SamplerLike, resolve
from fans.diffusion.wiener import sampled_spectrum
from fans.spectrum import multiplicity

Floats = NDArray[np.float64]

NO_SIGNAL = 1e-9  # level below which x_t says nothing
BISECTIONS = 60  # from +-40 to rounding


@dataclass(frozen=True)
class SampledContrast:
    """Contrasts that a sampler with the exact denoiser draws.

    Attributes:
        shares: of each contrast, (K,).
        power: mean power of the images over the data's.
    """

    shares: Floats
    power: float


def detectability(process: SpectralProcess, spectrum: Spectrum, t: Timestep) -> Tensor:
    """``lambda``: by how many deviations the energy moves from contrast 0 to 1; of the shape of t.

    >>> from fans.diffusion import white
    >>> float(detectability(white(size=(8, 8)), torch.ones(8, 5), 500))  # sqrt(64 / 2) at SNR 1
    5.656854249492381
    """
    height, width = process.size
    square = process.snr(t, spectrum).square().expand(*np.shape(t), height, width // 2 + 1)
    return (plane_mean(square, process.size)[..., 0, 0] * (height * width / 2)).sqrt()


def share_changes(
    process: SpectralProcess,
    spectrum: Spectrum,
    contrasts: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    timesteps: Sequence[int] | Tensor,
    nodes: int = 4000,
) -> Floats:
    """``dS_j``: growth of the share of contrasts up to j, to first order in the steps of DDIM; (K - 1,).

    Args:
        process: noising process, with no signal or little at T.
        spectrum: power of the data of contrast 1 per coefficient, (H, W//2 + 1).
        contrasts: of power, ascending, (K,).
        weights: probability of each; equal by default.
        timesteps: descending grid, T ... 0.
        nodes: of the quadrature.

    >>> from fans.diffusion import white
    >>> from fans.diffusion.grids import uniform
    >>> w = white(size=(16, 16))
    >>> share_changes(w, torch.ones(16, 9), [0.5, 1.5], timesteps=uniform(w, 100)).round(3).tolist()
    [0.035]
    """
    c, p = _classes(contrasts, weights)
    grid = check_grid(process, timesteps)
    mu = detectability(process, spectrum, grid[:-1]).sqrt().numpy()
    ends = np.append(mu, 2 * mu[-1] - mu[-2])
    # beyond this every two contrasts are 16 deviations apart, and no density is left between them
    lam = np.concatenate([[0.0], np.geomspace(1e-4 / c[-1], 16 / np.diff(c).min(), nodes)])
    step = np.interp(np.sqrt(lam), (ends[1:] + ends[:-1]) / 2, np.diff(ends))
    changes = []
    for below in np.cumsum(p)[:-1]:
        tau = _quantile(lam, c, p, float(below))
        density = stats.norm.pdf(tau[:, None] - lam[:, None] * c) @ p
        odds = np.log(p) + tau[:, None] * lam[:, None] * c - lam[:, None] ** 2 * c**2 / 2
        changes.append(np.trapezoid(step * density, np.sqrt(lam) * (softmax(odds, 1) @ c)))
    return np.array(changes)


def relative_loss(changes: ArrayLike, contrasts: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Relative change of power that shifted shares make, ``-sum_j dS_j (c_{j+1} - c_j) / E[c]``.

    >>> relative_loss([0.01], [0.5, 1.5])
    -0.01
    """
    c, p = _classes(contrasts, weights)
    return float(-np.asarray(changes) @ np.diff(c) / (p @ c))


def sampled_contrast(
    process: SpectralProcess,
    spectrum: Spectrum,
    contrasts: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    timesteps: Sequence[int] | Tensor,
    sampler: SamplerLike | Literal["contrast"] = "ddim",
    quantiles: int = 4001,
) -> SampledContrast:
    """Contrasts drawn with the exact denoiser, to all orders in the steps, by a recursion of the energy.

    Where the SNR is equal at all frequencies (EqualSNR; white noise and white data) a step keeps the
    direction of x_t and moves its length, so that quantiles of the length are all there is to follow: the
    result is exact. Elsewhere the field is replaced by one of equal SNR with
    ``N = (sum SNR)^2 / sum SNR^2`` coefficients, which is detected as easily.

    Args:
        process, spectrum, contrasts, weights, timesteps: as for ``share_changes``.
        sampler: any that adds no noise, as for ``fans.diffusion.sampling.sample``; or ``"contrast"``, the
            steps of ``contrast_step``.
        quantiles: of the starting length.

    Raises:
        ValueError: a sampler that adds noise; contrasts or weights that are none.

    >>> from fans.diffusion import white
    >>> from fans.diffusion.grids import uniform
    >>> w = white(size=(8, 8))
    >>> one = sampled_contrast(w, torch.ones(8, 5), [1.0], timesteps=uniform(w, 10))
    >>> round(one.power, 4)  # cos(pi / 20)^20
    0.7805
    """
    c, p = _classes(contrasts, weights)
    grid, (equal, count) = check_grid(process, timesteps), _equal_field(process, spectrum)

    signal, noise = (table.flatten().tolist() for table in equal.tables())

    def levels(t: int) -> tuple[float, float]:
        return signal[t], noise[t]

    def posterior(x: Floats, t: int) -> Floats:
        a, s = levels(t)
        power = a**2 * c + s**2
        odds = np.log(p) - count / 2 * (x[:, None] ** 2 / power + np.log(power))
        return np.asarray(softmax(odds, 1))

    def estimate(x: Floats, t: int) -> Floats:
        a, s = levels(t)
        return np.asarray(posterior(x, t) @ (a * c / (a**2 * c + s**2))) * x

    middles = (np.arange(quantiles) + 0.5) / quantiles
    x = levels(int(grid[0]))[1] * np.sqrt(stats.chi2.ppf(middles, count) / count)
    path = [x]
    if sampler == "contrast":
        for t, s in pairwise(grid.tolist()):
            path.append(_flow(path[-1], estimate(path[-1], t), levels(t), levels(s), float(p @ c)))
    else:
        path = _follow(resolve(sampler), equal, grid, x, estimate)
    shares = np.bincount(posterior(path[-2], int(grid[-2])).argmax(1), minlength=len(c)) / quantiles
    return SampledContrast(shares, float((path[-1] ** 2).mean() / (p @ c)))


def predicted_spectrum(
    process: SpectralProcess,
    spectrum: Spectrum,
    contrasts: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    timesteps: Sequence[int] | Tensor,
) -> Tensor:
    """Power of DDIM's images per coefficient, ``sum_k S_k P_k``, before any is drawn; (H, W//2 + 1).

    S are the shares of ``sampled_contrast``, ``P_k`` what the sampler makes of Gaussian data of contrast k.
    """
    c, _ = _classes(contrasts, weights)
    drawn = sampled_contrast(process, spectrum, contrasts, weights, timesteps=timesteps)
    planes = [
        share
        * sampled_spectrum(process, level * torch.as_tensor(spectrum), timesteps=timesteps, start="prior")
        for share, level in zip(drawn.shares.tolist(), c.tolist(), strict=True)
    ]
    return torch.stack(planes).sum(0)


def contrast_step(
    process: SpectralProcess, spectrum: Spectrum, x_t: Tensor, x0_hat: Tensor, t: int, s: int
) -> Tensor:
    """A step of DDIM that is exact for Gaussian data of each image's own contrast.

    The contrast of an image is the c whose Wiener filter agrees best with the denoiser,
    ``<x0_hat, x_t> = <G_c x_t, x_t>``. Its exact flow multiplies each coefficient with
    ``sqrt(P_s / P_t)``; what the filter leaves, ``x0_hat - G_c x_t``, is stepped as by DDIM. It needs no more
    than a denoiser and the mean spectrum, and no further evaluation.

    Args:
        process: noising process.
        spectrum: mean power of the data per coefficient, (H, W//2 + 1).
        x_t: images (B, C, H, W).
        x0_hat: the denoiser's estimate of the clean images.
        t, s: timesteps, s < t.

    Returns:
        x_s.
    """
    C, a_t = as_spectrum(spectrum, process.size), process.signal(t)
    X, Y = (torch.fft.rfft2(x.double(), norm="ortho") for x in (x_t, x0_hat))
    count = torch.tensor(multiplicity(process.size))
    energy = (count * X.abs().square()).sum(1)  # (B, H, W//2 + 1)
    agreement = (count * (X.conj() * Y).real).sum((1, 2, 3))

    def power(c: Tensor, time: int) -> Tensor:
        return process.signal(time).square() * c * C + process.noise(time).square()

    low, high = (torch.full((len(x_t), 1, 1), edge, dtype=torch.float64) for edge in (-16.0, 16.0))
    if float(a_t.max()) < NO_SIGNAL:
        low, high = 0 * low, 0 * high  # nothing is known yet: the mean contrast
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        c = middle.exp()
        short = ((a_t * c * C / power(c, t) * energy).sum((1, 2)) < agreement)[:, None, None]
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    c = ((low + high) / 2).exp()
    flow, gain = (power(c, s) / power(c, t)).sqrt(), a_t * c * C / power(c, t)
    rest = process.signal(s) - process.noise(s) / process.noise(t) * a_t  # DDIM's, on x0_hat
    stepped = (flow - rest * gain)[:, None] * X + rest * Y
    x_s: Tensor = torch.fft.irfft2(stepped, s=process.size, norm="ortho").to(x_t.dtype)
    return x_s


def _classes(contrasts: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """Contrasts in ascending order and their probabilities."""
    c = np.asarray(contrasts, dtype=np.float64)
    p = np.ones_like(c) if weights is None else np.asarray(weights, dtype=np.float64)
    if c.ndim != 1 or not (c > 0).all() or not (np.diff(c) > 0).all():
        raise ValueError(f"contrasts={contrasts!r}: must be positive and ascend")
    if p.shape != c.shape or not (p > 0).all():
        raise ValueError(f"weights={weights!r}: must be positive, one for each of {len(c)} contrasts")
    return c, p / p.sum()


def _quantile(lam: Floats, c: Floats, p: Floats, below: float) -> Floats:
    """tau with a share ``below`` of the mixture of N(lambda c, 1) under it, for each lambda; by bisection."""
    low, high = lam * c[0] - 40, lam * c[-1] + 40
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        under = stats.norm.cdf(middle[:, None] - lam[:, None] * c) @ p < below
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return np.asarray((low + high) / 2)


def _equal_field(process: SpectralProcess, spectrum: Spectrum) -> tuple[SpectralProcess, float]:
    """A field of power 1 and equal SNR, detected as easily at each time, and its number of coefficients."""
    height, width = process.size
    if process.is_white:
        sums = [plane_mean(as_spectrum(spectrum, process.size) ** n, process.size) for n in (1, 2)]
        a, s = process.tables()
        white = SpectralProcess.from_tables("equal SNR", (2, 2), a, s * (sums[0] / sums[1]).sqrt())
        return white, float(sums[0] ** 2 / sums[1]) * height * width
    rows, count = [], 0.0
    for t in process.blocks():
        signal, noise, C = process.signal(t), process.noise(t), as_spectrum(spectrum, process.size)
        against = (C / noise.square()).expand(len(t), height, width // 2 + 1)  # SNR at signal 1
        snr = signal.square() * against
        total, square, seen = (
            plane_mean(x, process.size) * (height * width) for x in (against, against.square(), snr.square())
        )
        level = (total / square).sqrt()
        loud = (seen / plane_mean(snr, process.size) / (height * width)).sqrt() * level
        rows.append((torch.where(signal.amax((1, 2), keepdim=True) > NO_SIGNAL, loud, 0.0), level))
        count = float(total[-1] ** 2 / square[-1])  # that of the noisy end
    a, s = (torch.cat(column) for column in zip(*rows, strict=True))
    a[0], s[0] = 1.0, 0.0
    return SpectralProcess.from_tables("equal SNR", (2, 2), a, s), count


def _follow(
    sampler: Sampler,
    process: SpectralProcess,
    grid: Tensor,
    x: Floats,
    estimate: Callable[[Floats, int], Floats],
) -> list[Floats]:
    """All states of a plan."""
    states, estimates = [x], list[Floats]()
    for stages in sampler.plan(process, grid):
        if stages.noise is not None and bool((stages.noise > 0).any()):
            raise ValueError(f"{sampler} adds noise: choose a sampler that does not, such as 'ddim'")
        for k, t in enumerate(stages.t.tolist()):
            estimates.insert(0, estimate(states[0], t))
            pairs = [*zip(stages.states, states, strict=False)]
            pairs += [*zip(stages.estimates, estimates, strict=False)]
            states.insert(0, np.sum([float(factor[k]) * y for factor, y in pairs], axis=0))
    return states[::-1]


def _flow(
    x: Floats, x_0: Floats, here: tuple[float, float], there: tuple[float, float], mean: float
) -> Floats:
    """The exact flow of the contrast whose Wiener filter makes x_0 of x; without signal, of the mean."""
    (a, s), (b, r) = here, there
    gain = x_0 / x
    c = gain * s**2 / (a * (1 - a * gain)) if a > NO_SIGNAL else np.full_like(x, mean)
    return np.asarray(x * np.sqrt((b**2 * c + r**2) / (a**2 * c + s**2)))
