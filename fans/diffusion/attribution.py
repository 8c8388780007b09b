r"""Which part of a wrong spectrum is the sampler's, and which the network's.

At every step of a sampler the network's estimate of the image splits, per coefficient, into what follows its
input linearly and what does not:

.. math:: \hat x_0 = g_t x_t + e_t, \qquad
    g_t = \frac{\overline{\operatorname{Re}(\hat x_0 x_t^*)}}{\overline{|x_t|^2}}, \qquad
    q_t = \overline{|e_t|^2},

with means over the images of the run. A step ``x_s = A x_t + B x0_hat + S n`` then changes the power by

.. math:: P_s = (A + B g_t)^2 P_t + B^2 q_t + S^2,

exactly, since e is uncorrelated with x by construction (up to the chance of n, if there is any). The
recursion with Wiener's gain and no stray power q is the exact sampler (``fans.diffusion.wiener``). Samplers
that look back further have such a recursion in g for several moments; the e of one step meets that of another
there, and what it does is what is left. Either way the error of the spectrum is a sum of three terms in dB:

- *sampler*: what the steps do to the spectrum with the exact linear denoiser;
- *gain*: what changes when the network's gain takes the place of Wiener's;
- *stray*: what the network adds that does not follow its input. It is never negative with a deterministic
  sampler of one step; the noise of a stochastic one scatters into it.

For Gaussian data the last two are faults of the network. For other data the best denoiser is not linear, and
its stray power is not zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fans.diffusion import Prediction, SpectralProcess, Spectrum, as_spectrum
from fans.diffusion.grids import uniform
from fans.diffusion.samplers import Sampler, SamplerLike, Stages, resolve
from fans.diffusion.sampling import Denoiser, Start, sample
from fans.diffusion.wiener import carried, sampled_spectrum
from fans.spectrum import band_sum, decibel, radial_bands


@dataclass(frozen=True)
class Trace:
    """A run of a sampler, and the linear part of every estimate in it.

    Attributes:
        process: noising process.
        timesteps: T ... 0, (K + 1,).
        sampler: that drew.
        images: (N, C, H, W), what was drawn.
        start: mean power of x_T per coefficient, (H, W//2 + 1), float64.
        gain: g at each call of the denoiser, of which most samplers have one a step, (K, H, W//2 + 1).
        stray: q at each call, likewise.
        power: mean power of the images drawn, (H, W//2 + 1).
    """

    process: SpectralProcess
    timesteps: Tensor
    sampler: Sampler
    images: Tensor
    start: Tensor
    gain: Tensor
    stray: Tensor
    power: Tensor

    def spectrum(self, *, stray: bool = True) -> Tensor:
        """Power of the drawn images by the recursion, with the stray power or as if there were none.

        Raises:
            ValueError: stray power with a sampler that looks back further than one step.
        """
        rows = iter(self.gain)
        plan = self._with_stray() if stray else self.sampler.plan(self.process, self.timesteps)
        return carried(plan, lambda t: torch.stack([next(rows) for _ in t]), self.start)

    def _with_stray(self) -> Iterator[Stages]:
        """The plan, with the stray power as if it were noise."""
        done = 0
        for block in self.sampler.plan(self.process, self.timesteps):
            if len(block.states) > 1 or len(block.estimates) > 1:
                raise ValueError(f"{self.sampler}: stray power needs a sampler of one step, such as DDIM()")
            (estimate,), q = block.estimates, self.stray[done : done + len(block.t)]
            added = 0 if block.noise is None else block.noise.square()
            yield block._replace(noise=(estimate.square() * q + added).sqrt())
            done += len(block.t)


@dataclass(frozen=True)
class Attribution:
    """Error of a spectrum in bands of frequency, in dB, split into terms that add up to it.

    Attributes:
        edges: of the bands in cycles per pixel, (B + 1,).
        sampler: of the exact linear denoiser in the same steps, from the same prior; (B,).
        gain: of the network's linear response.
        stray: of what the network adds beside it.
        total: of the images that were drawn.
    """

    edges: Tensor
    sampler: Tensor
    gain: Tensor
    stray: Tensor
    total: Tensor


def trace(
    process: SpectralProcess,
    denoiser: Denoiser,
    shape: tuple[int, int, int, int],
    *,
    generator: torch.Generator | list[torch.Generator],
    steps: int = 50,
    sampler: SamplerLike = "ddim",
    prediction: Prediction = "v_prediction",
    start: Start = "prior",
    device: torch.device | str = "cpu",
) -> Trace:
    """Draw images as ``fans.diffusion.sampling.sample`` does, on its uniform grid, and record gains and stray
    power.

    Args:
        process, denoiser, shape, generator, steps, sampler, prediction, start, device: as for ``sample``.

    >>> from fans.diffusion import streams, white
    >>> from fans.diffusion.wiener import WienerDenoiser
    >>> process, C = white(size=(8, 8)), torch.full((8, 5), 0.04)
    >>> oracle = WienerDenoiser(process, C, "v_prediction")
    >>> run = trace(process, oracle, (4, 1, 8, 8), generator=streams(0, 4), steps=5)
    >>> float(run.stray.max()) < 1e-9
    True
    """
    method = resolve(sampler)
    moments: list[tuple[Tensor, Tensor, Tensor]] = []

    def observed(x_t: Tensor, t: Tensor) -> Tensor:
        answer = denoiser(x_t, t)
        x_0 = process.predicted_sample(x_t, answer, int(t[0]), prediction)
        x, y = (torch.fft.rfft2(z.cpu().double(), norm="ortho").flatten(0, 1) for z in (x_t, x_0))
        power = x.abs().square().mean(0)
        gain = (y * x.conj()).real.mean(0) / power
        moments.append((power, gain, (y - gain * x).abs().square().mean(0)))
        return answer

    images = sample(
        process,
        observed,
        shape,
        generator=generator,
        steps=steps,
        sampler=method,
        prediction=prediction,
        start=start,
        device=device,
    )
    power, gain, stray = (torch.stack(column) for column in zip(*moments, strict=True))
    final = torch.fft.rfft2(images.cpu().double(), norm="ortho").abs().square().mean((0, 1))
    return Trace(process, uniform(process, steps), method, images, power[0], gain, stray, final)


def attribute(run: Trace, spectrum: Spectrum, *, bands: int = 8) -> Attribution:
    """Split the error of a run's spectrum into sampler, gain and stray power, in bands up to the corner.

    Zero frequency is left out, as in ``fans.metrics.band_error``. The terms add up to the total exactly for
    deterministic samplers; for others up to the chance correlation of noise and state.

    Args:
        run: from ``trace``.
        spectrum: true power of the data per coefficient.
        bands: number of rings of equal width.
    """
    size = run.process.size
    rings = radial_bands(size, bands)
    exact = sampled_spectrum(
        run.process, spectrum, timesteps=run.timesteps, sampler=run.sampler, start="prior"
    )
    stages = [as_spectrum(spectrum, size), exact, run.spectrum(stray=False), run.power]
    true, sampler, linear, drawn = (band_sum(power, rings, zero=False) for power in stages)
    return Attribution(
        edges=torch.from_numpy(rings.edges),
        sampler=decibel(sampler, true),
        gain=decibel(linear, sampler),
        stray=decibel(drawn, linear),
        total=decibel(drawn, true),
    )
