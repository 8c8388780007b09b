"""``SpectralProcess``: two functions of time and frequency, and everything that follows from them.

In the orthonormal DFT each coefficient w of an image is noised by ``x_t(w) = a_t(w) x_0(w) + s_t(w) eps(w)``,
with white eps. ``rho_t = a_t^2 / s_t^2`` is its signal-to-noise ratio for data of power 1; ``C(w)`` is the
power of the data. Prior, conversions between predictions and loss weights are the same formulas for every
process, as are its samplers (``fans.diffusion.samplers``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor

from fans._validation import image_size, known, whole
from fans.diffusion.checks import Timestep, as_spectrum, as_time, check_images, check_levels
from fans.diffusion.digests import digest
from fans.diffusion.plane import Constant, Generators, Size, Spectrum, filtered, plane_mean, randn
from fans.diffusion.schedules import Schedule, interpolated

Prediction = Literal["sample", "epsilon", "noise", "v_prediction", "v_pixel", "score"]
Formula = Callable[[Tensor], tuple[Tensor, Tensor]]
_BLOCK = 2**21  # numbers that are computed at once where all timesteps are needed: 16 MB


class Recipe(NamedTuple):
    """How a process was built: by which function (``fans.diffusion.family``), with which plain options."""

    build: Callable[..., "SpectralProcess"]
    options: Mapping[str, Any]
    spectrum: Tensor | None

    def rebuilt(self) -> "SpectralProcess":
        """The same process anew."""
        spectrum = {} if self.spectrum is None else {"spectrum": self.spectrum}
        return self.build(**spectrum, **self.options)


@dataclass(frozen=True, eq=False)
class SpectralProcess:
    """Noising process with signal level ``a_t(w)`` and noise level ``s_t(w)``, t = 0 (clean) ... T.

    Levels are computed when they are asked for, at whole and real t; nothing of the size of a table over all
    timesteps is kept. Build one with ``fans.diffusion.white`` and its siblings, from a formula of your own,
    or with ``from_tables``.

    Attributes:
        name: for messages and legends.
        size: (H, W) of the images, any parity.
        timesteps: T, the index of the noisiest state.
        formula: from times, float of shape (..., 1, 1), to a and s of shape (..., H, W//2 + 1), or
            (..., 1, 1) if equal at all frequencies, in the precision and on the device of the times.
        recipe: how a family built it; None for a formula of your own.

    Raises:
        ValueError: levels of another shape, t = 0 not clean, no noise at some t > 0, no signal at some t < T.
            Looked at are t = 0, 1, T/2, T - 1 and T.

    >>> from fans.diffusion.schedules import cosine
    >>> plain = SpectralProcess("plain", (8, 8), 10, lambda t: cosine(t, 10))
    >>> plain.is_white, round(plain.signal(5).item() ** 2, 6)
    (True, 0.5)
    """

    name: str
    size: Size
    timesteps: int
    formula: Formula = field(repr=False)
    recipe: Recipe | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", image_size("size", self.size))
        last = whole("timesteps", self.timesteps, low=2)
        times = torch.tensor(sorted({0, 1, last // 2, last - 1, last}), dtype=torch.float64)
        check_levels(self.name, self.size, times, *self.formula(times[:, None, None]))

    @classmethod
    def from_tables(cls, name: str, size: Size, signal: Tensor, noise: Tensor) -> Self:
        """A process from tables of your own, interpolated linearly between whole timesteps.

        Args:
            name, size: as above.
            signal, noise: a and s at t = 0 ... T, float64 of shape (T + 1, H, W//2 + 1); (T + 1, 1, 1) if
                equal at all frequencies.

        Raises:
            ValueError: as above, anywhere in the tables.

        >>> line = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None, None]
        >>> SpectralProcess.from_tables("line", (8, 8), 1 - line, line).noise(2.5).item()
        0.25
        """
        last = len(signal) - 1
        if len(noise) != len(signal):
            raise ValueError(f"{name}: {len(signal)} rows of signal, {len(noise)} of noise: both need T + 1")
        check_levels(name, image_size("size", size), torch.arange(last + 1), signal, noise)
        tables = Constant(signal.clone()), Constant(noise.clone())

        def rows(t: Tensor) -> tuple[Tensor, Tensor]:
            a, s = (interpolated(table.like(t), t[..., 0, 0]) for table in tables)
            return a, s

        return cls(name, size, last, rows)

    # What it is

    @cached_property
    def is_white(self) -> bool:
        """Whether signal and noise are equal at all frequencies, so that no FFT is ever needed."""
        return all(level.shape[-2:] == (1, 1) for level in self.levels(1))

    @property
    def config(self) -> dict[str, Any]:
        """Family and all its options, for JSON; with ``spectrum``, all that ``from_config`` needs.

        Raises:
            ValueError: levels or schedule are functions or tables of your own.

        >>> from fans.diffusion import white
        >>> white(size=(8, 8), timesteps=10, schedule="rectified").config
        {'family': 'white', 'size': [8, 8], 'timesteps': 10, 'schedule': {'name': 'rectified', 'end': 1.0}}
        """
        if self.recipe is None or callable(self.recipe.options.get("schedule")):
            raise ValueError(
                f"process {self.name!r} has levels or a schedule of your own, which no configuration can"
                " name: write it as a function with the decorator fans.diffusion.family"
            )
        return {"family": self.recipe.build.__name__} | deepcopy(dict(self.recipe.options))

    @property
    def spectrum(self) -> Tensor | None:
        """The data's power per coefficient that the process was built from, if any."""
        return None if self.recipe is None else self.recipe.spectrum

    def digest(self) -> str:
        """Hash of configuration and spectrum; of the levels at all timesteps where these are your own."""
        try:
            config = self.config
        except ValueError:
            return digest(self.name, *(level for t in self.blocks() for level in self.levels(t)))
        return digest(config, *(() if self.spectrum is None else (self.spectrum,)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the recipe, not the levels."""
        if self.recipe is None:
            raise TypeError(
                f"process {self.name!r} has levels of your own: write it as a family to pickle it"
            )
        return Recipe.rebuilt, (self.recipe,)

    def __deepcopy__(self, memo: Any) -> Self:
        """Itself: nothing of it changes."""
        return self

    # The marginal x_t

    def levels(
        self, t: Timestep, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Signal and noise level (a, s) at times t from 0 to T, whole or real.

        Args:
            t: number, or tensor of any shape, on any device.
            dtype: of the levels; they are computed in float64.
            device: where they are computed.

        Returns:
            Two tensors ``(*t.shape, H, W//2 + 1)``; ``(*t.shape, 1, 1)`` what is equal at all frequencies.

        Raises:
            TypeError: t is bool, uint8, half precision, or no number.
            ValueError: a time outside 0 ... T, or NaN.
        """
        a, s = self.at(as_time(t, self.timesteps), device=device)
        return a.to(dtype), s.to(dtype)

    def at(self, time: Tensor, *, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """``levels`` at times that ``as_time`` has checked, which costs more than small levels do."""
        return self.formula(time.to(device)[..., None, None])

    def signal(self, t: Timestep) -> Tensor:
        """Signal level a_t(w), float64 ``(*t.shape, H, W//2 + 1)``; ``(*t.shape, 1, 1)`` without colour."""
        return self.levels(t)[0]

    def noise(self, t: Timestep) -> Tensor:
        """Noise level s_t(w), likewise."""
        return self.levels(t)[1]

    def tables(self) -> Schedule:
        """Levels at t = 0 ... T, each (T + 1, H, W//2 + 1) or (T + 1, 1, 1): 17 MB at 64 x 64, T = 1000."""
        return Schedule(*self.levels(torch.arange(self.timesteps + 1)))

    def blocks(self, *, first: int = 0, overlap: int = 0) -> Iterator[Tensor]:
        """The timesteps ``first`` ... T in pieces, for whose levels there is memory at any size of images.

        Args:
            first: where to begin.
            overlap: how many timesteps of a piece come again at the beginning of the next.
        """
        length = max(1, _BLOCK // (self.size[0] * (self.size[1] // 2 + 1)))
        for start in range(first, self.timesteps + 1 - overlap, length):
            yield torch.arange(start, min(start + length + overlap, self.timesteps + 1))

    def snr(self, t: Timestep, spectrum: Spectrum | None = None) -> Tensor:
        """``a_t^2 C / s_t^2``, or rho_t = a_t^2 / s_t^2 without a spectrum; infinite at t = 0."""
        a, s = self.levels(t)
        ratio = (a / s).square()
        return ratio if spectrum is None else ratio * as_spectrum(spectrum, self.size)

    def power(self, t: Timestep, spectrum: Spectrum) -> Tensor:
        """Expected power of x_t per coefficient, ``a_t^2 C + s_t^2``."""
        a, s = self.levels(t)
        return a.square() * as_spectrum(spectrum, self.size) + s.square()

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
        time = as_time(t, self.timesteps)
        self._check_images(time, x_0=x_0, epsilon=epsilon)
        a, s = self.at(time, device=x_0.device)
        return filtered(x_0, a) + filtered(epsilon, s)

    # What a network predicts

    def mixture(self, t: Timestep, kind: Prediction) -> tuple[Tensor, Tensor]:
        """The pair (c, d) that defines a prediction, ``c(w) x_0(w) + d(w) eps(w)``, t > 0.

        ``sample`` is x_0; ``epsilon`` the white noise; ``noise`` the coloured noise ``s_t eps`` divided by
        its standard deviation; ``v_prediction`` is ``a_t eps - s_t x_0`` at every frequency; ``v_pixel`` is
        ``a_t noise - sigma x_0`` with the standard deviation sigma of the coloured noise, so that scalars
        turn it into an image; ``score`` is ``-eps / s_t``.
        """
        return prediction_parts(*self.at(as_time(t, self.timesteps, noisy=True)), kind, self.size)

    def target(self, x_0: Tensor, epsilon: Tensor, t: Timestep, kind: Prediction) -> Tensor:
        """What a network should predict at ``x_t = add_noise(x_0, epsilon, t)``, t > 0."""
        time = as_time(t, self.timesteps, noisy=True)
        self._check_images(time, x_0=x_0, epsilon=epsilon)
        c, d = prediction_parts(*self.at(time, device=x_0.device), kind, self.size)
        return filtered(x_0, c) + filtered(epsilon, d)

    def inversion(self, t: Timestep, kind: Prediction) -> tuple[Tensor, Tensor]:
        """The pair (f, g) that turns a prediction p into an image: ``x0_hat = f x_t + g p``, t > 0.

        Solves ``x_t = a x_0 + s eps, p = c x_0 + d eps`` for x_0.

        Raises:
            ValueError: where the prediction says next to nothing about the image (epsilon if ``a_t < 1e-6``).
        """
        a, s = self.at(as_time(t, self.timesteps, noisy=True))
        f, g = inversion(a, s, *prediction_parts(a, s, kind, self.size))
        if not (f.abs() < 1e6).all():  # rounding of x_t, so amplified, would drown the image
            raise ValueError(
                f"{kind!r} does not determine the image where process {self.name!r} has no signal left:"
                " predict 'sample' or 'v_prediction', or end the schedule earlier: partial(cosine, end=0.99)"
            )
        return f, g

    def predicted_sample(self, x_t: Tensor, prediction: Tensor, t: Timestep, kind: Prediction) -> Tensor:
        """The image x0_hat that a prediction stands for, t > 0."""
        time = as_time(t, self.timesteps, noisy=True)
        self._check_images(time, x_t=x_t, prediction=prediction)
        f, g = self.inversion(time, kind)
        return filtered(x_t, f) + filtered(prediction, g)

    def elbo_weight(self, t: Timestep) -> Tensor:
        """Weight of ``|x_0 - x0_hat|^2`` in the ELBO, ``(rho_{t-1} - rho_t) / 2``; infinite at t = 1."""
        time = as_time(t, self.timesteps, noisy=True)
        return (self.snr(time - 1) - self.snr(time)) / 2

    # Sanity and comparison

    def check(self) -> Tensor:
        """Where no forward Markov chain exists: rows (t, row, column) at which the SNR rises from t - 1 to t.

        Without colour, row and column are 0 and stand for all frequencies. An empty result means that every
        sampler may be used; otherwise ``ancestral`` and ``eta`` may not.
        """
        found = []
        for t in self.blocks(first=1, overlap=1):
            rho = self.snr(t)
            found.append(_rises(rho[1:] / rho[:-1]).nonzero() + torch.stack([t[1], *2 * [t.new_zeros(())]]))
        return torch.cat(found)

    def calibrated(self, reference: "SpectralProcess", spectrum: Spectrum) -> "SpectralProcess":
        """The process with its noise scaled, one factor a timestep, to the average SNR of ``reference``.

        The average is that of ``a_t^2 C / s_t^2`` over the full DFT plane. Where neither has any signal left
        (T, for schedules that end at 0) the factor of the previous timestep is kept, and before t = 1, where
        both ratios grow without bound, that of t = 1.

        Raises:
            ValueError: other size or number of timesteps, or signal left at T in one of the two only.
        """
        if (reference.size, reference.timesteps) != (self.size, self.timesteps):
            raise ValueError(f"{self.name!r} and {reference.name!r} must have equal size and timesteps")
        own, wanted = (
            plane_mean(process.snr(self.timesteps, spectrum), self.size) for process in (self, reference)
        )
        if (own == 0) != (wanted == 0):
            raise ValueError(
                f"only one of {self.name!r} and {reference.name!r} has signal left at T: end alike"
            )
        data, latest = Constant(as_spectrum(spectrum, self.size)), self.timesteps - float(own == 0)

        def mean_snr(process: SpectralProcess, t: Tensor) -> Tensor:
            a, s = process.formula(t)
            return plane_mean((a / s).square() * data.like(t), self.size)

        def levels(t: Tensor) -> tuple[Tensor, Tensor]:
            a, s = self.formula(t)
            inner = t.clamp(1, latest)
            return a, s * (mean_snr(self, inner) / mean_snr(reference, inner)).sqrt()

        return SpectralProcess(f"{self.name}, calibrated", self.size, self.timesteps, levels)

    def _check_images(self, time: Tensor, **images: Tensor) -> None:
        for label, x in images.items():
            check_images(label, x, self.size, time)


def _rises(ratio: Tensor) -> Tensor:
    return ratio > 1 + 1e-9  # rounding of equal ratios is no rise


def prediction_parts(a: Tensor, s: Tensor, kind: Prediction, size: Size) -> tuple[Tensor, Tensor]:
    """``SpectralProcess.mixture`` from levels.

    Raises:
        ValueError: unknown kind.
    """
    known("prediction", kind, get_args(Prediction))
    one = torch.ones_like(a[..., :1, :1])
    if kind == "sample":
        return one, 0 * one
    if kind == "epsilon":
        return 0 * one, one
    if kind == "v_prediction":
        return -s, a
    if kind == "score":
        return 0 * one, -1 / s
    sigma = plane_mean(s.square(), size).sqrt()
    return (0 * one, s / sigma) if kind == "noise" else (-sigma, a * s / sigma)


def inversion(a: Tensor, s: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """``SpectralProcess.inversion`` from levels and mixture, unchecked."""
    determinant = d * a - c * s
    return d / determinant, -s / determinant
