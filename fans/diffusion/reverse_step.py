r"""How far a step back is from Gaussian, frequency by frequency, exactly.

Given x_t and the component k, the coefficients of a less noisy x_s are Gaussian. Given x_t alone they are a
mixture with the responsibilities for weights,

.. math:: q(x_s | x_t) = \sum_k \pi_k(x_t) \prod_w N\big((A\,G_k + B)\, x_t,\; S^2 + A^2 V_k\big),

with the Markov posterior's ``x_s = A x_0 + B x_t + S n``, Wiener's gain ``G_k`` and the variance ``V_k`` that
it leaves. A sampler replaces it by one Gaussian: what that loses at a frequency is the divergence from the
Gaussian of the same moments.
"""

import torch
from torch import Tensor

from fans.diffusion.mixtures import MixtureDenoiser
from fans.diffusion.plane import randn
from fans.diffusion.samplers import Ancestral

NODES = 1201
REACH = 12.0  # deviations on either side


def divergence(weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """``KL(q | N)`` in nats of scalar Gaussian mixtures from the normal law of their moments; (...,).

    Args:
        weights, means, variances: (..., K).

    >>> half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    >>> apart = torch.tensor([-9.0, 9.0], dtype=torch.float64)
    >>> round(float(divergence(half, apart, torch.ones(2).double())), 4)  # log(sqrt(82) / 2)
    1.5102
    """
    mean = (weights * means).sum(-1, keepdim=True)
    variance = (weights * (variances + (means - mean).square())).sum(-1, keepdim=True)
    scale = variance.sqrt()[..., None]  # (..., 1, 1)
    z = torch.linspace(-REACH, REACH, NODES, dtype=torch.float64)[:, None]  # (nodes, 1)
    away = (z * scale - (means - mean)[..., None, :]).square() / variances[..., None, :]
    parts = weights.log()[..., None, :] - (away + (variances / variance).log()[..., None, :]) / 2
    log_q = parts.logsumexp(-1)  # of z, times sqrt(2 pi)
    log_normal = -z[:, 0].square() / 2
    density = log_q.exp() / (2 * torch.pi) ** 0.5
    values: Tensor = (density * (log_q - log_normal)).sum(-1) * (2 * REACH / (NODES - 1))
    return values.clamp(min=0)


def step_divergence(bayes: MixtureDenoiser, x_t: Tensor, t: int, s: int) -> Tensor:
    """Divergence of ``q(x_s(w) | x_t)`` from a normal law, mean over images; (H, W//2 + 1), nats.

    It is that of the part of the coefficient along x_t(w), in which means and variances differ.

    Args:
        bayes: denoiser of the mixture.
        x_t: images (B, 1, H, W).
        t, s: timesteps, s < t.
    """
    stages = Ancestral().stages(bayes.process, torch.tensor([[s], [t]]))
    assert stages.noise is not None
    A, B, S = stages.estimates[0][0], stages.states[0][0], stages.noise[0]
    C, a_t, s_t = bayes.spectra, bayes.process.signal(t), bayes.process.noise(t)
    power = a_t.square() * C + s_t.square()
    gain = A * a_t * C / power + B  # (K, H, W//2 + 1)
    variance = S.square() + A.square() * C * s_t.square() / power
    real = torch.full(C.shape[1:], 0.5, dtype=torch.float64)  # a complex coefficient has half of it along x_t
    for row in {0, C.shape[1] // 2} if C.shape[1] % 2 == 0 else {0}:
        for column in {0, C.shape[2] - 1} if bayes.process.size[1] % 2 == 0 else {0}:
            real[row, column] = 1.0
    pi = bayes.responsibilities(x_t, t)  # (B, K)
    length = torch.fft.rfft2(x_t.double(), norm="ortho").abs().square().mean(1).sqrt()  # (B, H, W//2 + 1)
    total = torch.zeros(C.shape[1:], dtype=torch.float64)
    for odds, size in zip(pi, length, strict=True):
        means, variances = (plane.movedim(0, -1) for plane in (gain * size, variance * real))
        total += divergence(odds.clamp(min=1e-300).expand_as(means), means, variances)
    return total / len(x_t)


def draw(bayes: MixtureDenoiser, count: int, t: int, generator: torch.Generator) -> Tensor:
    """Noised images of the mixture at timestep t, (count, 1, H, W), float64."""
    chosen = torch.multinomial(torch.as_tensor(bayes.weights), count, replacement=True, generator=generator)
    shape = (count, 1, *bayes.process.size)
    x, eps = (torch.fft.rfft2(randn(shape, generator, dtype=torch.float64), norm="ortho") for _ in range(2))
    noised = bayes.process.signal(t) * bayes.spectra[chosen, None].sqrt() * x + bayes.process.noise(t) * eps
    images: Tensor = torch.fft.irfft2(noised, s=bayes.process.size, norm="ortho")
    return images
