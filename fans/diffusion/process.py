"""``SpectralProcess``: two tables over time and frequency, and everything that follows from them.

In the orthonormal DFT each coefficient w of an image is noised by ``x_t(w) = a_t(w) x_0(w) + s_t(w) eps(w)``,
with white eps. ``rho_t = a_t^2 / s_t^2`` is its signal-to-noise ratio for data of power 1; ``C(w)`` is the
power of the data. Prior, conversions between predictions and loss weights are the same formulas for every
process, as are its samplers (``fans.diffusion.samplers``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from fans.diffusion.checks import as_spectrum, check_tables
from fans.diffusion.plane import Generators, Size, Spectrum, filtered, plane_mean, randn

Prediction = Literal["sample", "epsilon", "noise", "v_prediction", "v_pixel", "score"]
Timestep = int | Tensor


@dataclass(frozen=True, eq=False)
class SpectralProcess:
    """Noising process with signal level ``a_t(w)`` and noise level ``s_t(w)``, t = 0 (clean) ... T.

    Build one with ``fans.diffusion.white`` and its siblings, or from tables of your own. A table with colour
    takes 17 MB at 64 x 64 and T = 1000, and grows with each of the three.

    Attributes:
        name: for messages and legends.
        size: (H, W) of the images, any parity.
        signal_table: a, float64 of shape (T + 1, H, W//2 + 1); (T + 1, 1, 1) if equal at all frequencies.
        noise_table: s, likewise.

    Raises:
        ValueError: tables of another shape, t = 0 not clean, no noise at some t > 0, no signal at some t < T.

    >>> from fans.diffusion.schedules import cosine
    >>> a, s = (table[:, None, None] for table in cosine(10))
    >>> SpectralProcess("plain", (8, 8), a, s).is_white
    True
    """

    name: str
    size: Size
    signal_table: Tensor = field(repr=False)
    noise_table: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        check_tables(self.name, self.size, self.signal_table, self.noise_table)

    @property
    def timesteps(self) -> int:
        """T, the index of the noisiest state."""
        return len(self.signal_table) - 1

    @property
    def is_white(self) -> bool:
        """Whether signal and noise are equal at all frequencies, so that no FFT is ever needed."""
        return self.signal_table.shape[1:] == self.noise_table.shape[1:] == (1, 1)

    # The marginal x_t

    def signal(self, t: Timestep) -> Tensor:
        """Signal level a_t(w), float64 ``(*t.shape, H, W//2 + 1)``; ``(*t.shape, 1, 1)`` without colour."""
        return self.signal_table[self._index(t)]

    def noise(self, t: Timestep) -> Tensor:
        """Noise level s_t(w), in the shape of ``signal``."""
        return self.noise_table[self._index(t)]

    def snr(self, t: Timestep, spectrum: Spectrum | None = None) -> Tensor:
        """``a_t^2 C / s_t^2``, or rho_t = a_t^2 / s_t^2 without a spectrum; infinite at t = 0."""
        ratio = (self.signal(t) / self.noise(t)).square()
        return ratio if spectrum is None else ratio * as_spectrum(spectrum, self.size)

    def power(self, t: Timestep, spectrum: Spectrum) -> Tensor:
        """Expected power of x_t per coefficient, ``a_t^2 C + s_t^2``."""
        return self.signal(t).square() * as_spectrum(spectrum, self.size) + self.noise(t).square()

    def posterior_variance(self, t: Timestep, spectrum: Spectrum) -> Tensor:
        """``Var(x_0 | x_t) = C s_t^2 / (a_t^2 C + s_t^2)`` per coefficient, for Gaussian data; for t > 0."""
        return as_spectrum(spectrum, self.size) * self.noise(t).square() / self.power(t, spectrum)

    def draw(
        self,
        shape: Sequence[int],
        t: Timestep,
        generator: Generators,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw the noise of x_t, real images with power s_t(w)^2.

        Args:
            shape: (..., H, W); (B, ..., H, W) if t has shape (B,) or one generator per image is given.
            t: timestep, or one per image.
            generator: one generator, or a list with one per image (see ``streams``).
        """
        return filtered(self.white_noise(shape, generator, dtype=dtype, device=device), self.noise(t))

    def white_noise(
        self,
        shape: Sequence[int],
        generator: Generators,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """White noise for images of this process: ``randn`` that insists on the process's size."""
        if tuple(shape[-2:]) != self.size:
            raise ValueError(
                f"shape {tuple(shape)} must end in the size {self.size} of process {self.name!r}"
            )
        return randn(shape, generator, dtype=dtype, device=device)

    def prior_power(self) -> Tensor:
        """Power per coefficient of the state that practical sampling starts from, ``s_T^2``."""
        return self.noise(self.timesteps).square()

    def prior(
        self,
        shape: Sequence[int],
        generator: Generators,
        *,
        spectrum: Spectrum | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw x_T from N(0, s_T^2), or, given the data's spectrum, from N(0, a_T^2 C + s_T^2)."""
        power = self.prior_power() if spectrum is None else self.power(self.timesteps, spectrum)
        return filtered(self.white_noise(shape, generator, dtype=dtype, device=device), power.sqrt())

    def add_noise(self, x_0: Tensor, epsilon: Tensor, t: Timestep) -> Tensor:
        """``x_t = a_t x_0 + s_t epsilon`` from images and white noise (..., H, W), in their dtype."""
        return filtered(x_0, self.signal(t)) + filtered(epsilon, self.noise(t))

    # What a network predicts

    def mixture(self, t: Timestep, kind: Prediction) -> tuple[Tensor, Tensor]:
        """The pair (c, d) that defines a prediction, ``c(w) x_0(w) + d(w) eps(w)``.

        ``sample`` is x_0; ``epsilon`` the white noise; ``noise`` the coloured noise ``s_t eps`` divided by
        its standard deviation; ``v_prediction`` is ``a_t eps - s_t x_0`` at every frequency; ``v_pixel`` is
        ``a_t noise - sigma x_0`` with the standard deviation sigma of the coloured noise, so that scalars
        turn it into an image; ``score`` is ``-eps / s_t``.
        """
        a, s = self.signal(t), self.noise(t)
        sigma = plane_mean(s.square(), self.size).sqrt()
        one = torch.ones(1, 1, dtype=torch.float64)
        kinds = {
            "sample": (one, 0 * one),
            "epsilon": (0 * one, one),
            "noise": (0 * one, s / sigma),
            "v_prediction": (-s, a),
            "v_pixel": (-sigma, a * s / sigma),
            "score": (0 * one, -1 / s),
        }
        if kind not in kinds:
            raise ValueError(f"prediction={kind!r}: must be one of {', '.join(kinds)}")
        return kinds[kind]

    def target(self, x_0: Tensor, epsilon: Tensor, t: Timestep, kind: Prediction) -> Tensor:
        """What a network should predict at ``x_t = add_noise(x_0, epsilon, t)``, t > 0."""
        c, d = self.mixture(t, kind)
        return filtered(x_0, c) + filtered(epsilon, d)

    def inversion(self, t: Timestep, kind: Prediction) -> tuple[Tensor, Tensor]:
        """The pair (f, g) that turns a prediction p into an image: ``x0_hat = f x_t + g p``, t > 0.

        Solves ``x_t = a x_0 + s eps, p = c x_0 + d eps`` for x_0.

        Raises:
            ValueError: where the prediction says next to nothing about the image (epsilon if ``a_t < 1e-6``).
        """
        a, s = self.signal(t), self.noise(self._index(t, lowest=1))
        c, d = self.mixture(t, kind)
        determinant = d * a - c * s
        f = d / determinant
        if not (f.abs() < 1e6).all():  # rounding of x_t, so amplified, would drown the image
            raise ValueError(
                f"{kind!r} does not determine the image where process {self.name!r} has no signal left:"
                " predict 'sample' or 'v_prediction', or end the schedule earlier: partial(cosine, end=0.99)"
            )
        return f, -s / determinant

    def predicted_sample(self, x_t: Tensor, prediction: Tensor, t: Timestep, kind: Prediction) -> Tensor:
        """The image x0_hat that a prediction stands for, t > 0."""
        f, g = self.inversion(t, kind)
        return filtered(x_t, f) + filtered(prediction, g)

    def elbo_weight(self, t: Timestep) -> Tensor:
        """Weight of ``|x_0 - x0_hat|^2`` in the ELBO, ``(rho_{t-1} - rho_t) / 2``; infinite at t = 1."""
        return (self.snr(self._index(t, lowest=1) - 1) - self.snr(t)) / 2

    # Sanity and comparison

    def check(self) -> Tensor:
        """Where no forward Markov chain exists: rows (t, row, column) at which the SNR rises from t - 1 to t.

        Without colour, row and column are 0 and stand for all frequencies. An empty result means that every
        sampler may be used; otherwise ``ancestral`` and ``eta`` may not.
        """
        rho = self.snr(torch.arange(1, self.timesteps + 1))
        at = _rises(rho[1:] / rho[:-1]).nonzero()
        return at + torch.tensor([2, 0, 0])

    def calibrated(self, reference: "SpectralProcess", spectrum: Spectrum) -> "SpectralProcess":
        """The process with its noise scaled, one factor a timestep, to the average SNR of ``reference``.

        The average is that of ``a_t^2 C / s_t^2`` over the full DFT plane. Where neither has any signal left
        (T, for schedules that end at 0) the factor of the previous timestep is kept.

        Raises:
            ValueError: other size or number of timesteps, or signal left at T in one of the two only.
        """
        if (reference.size, reference.timesteps) != (self.size, self.timesteps):
            raise ValueError(f"{self.name!r} and {reference.name!r} must have equal size and timesteps")
        t = torch.arange(1, self.timesteps + 1)
        own, wanted = (plane_mean(process.snr(t, spectrum), self.size) for process in (self, reference))
        scale = (own / wanted).sqrt()
        if own[-1] == wanted[-1] == 0:
            scale[-1] = scale[-2]
        elif own[-1] == 0 or wanted[-1] == 0:
            raise ValueError(
                f"only one of {self.name!r} and {reference.name!r} has signal left at T: end alike"
            )
        noise = torch.cat([self.noise_table[:1], self.noise_table[1:] * scale])
        return SpectralProcess(f"{self.name}, calibrated", self.size, self.signal_table, noise)

    def _index(self, t: Timestep, *, lowest: int = 0) -> Tensor:
        index = torch.as_tensor(t, device="cpu")
        if index.is_floating_point() or bool(((index < lowest) | (index > self.timesteps)).any()):
            raise ValueError(f"t={t}: must be an integer from {lowest} to T = {self.timesteps}")
        return index


def _rises(ratio: Tensor) -> Tensor:
    return ratio > 1 + 1e-9  # rounding of equal ratios is no rise
