"""Samplers: each is one class that gives a linear plan, which images and the exact spectrum follow alike.

Wherever a sampler is asked for, a name of the table below may stand for it:

>>> from fans.diffusion import samplers
>>> samplers.resolve("dpmpp_2m")
DPMSolverPP2M()
"""

from typing import Literal, get_args

from fans.diffusion.plane import Spectrum
from fans.diffusion.samplers.flow import Euler, Heun
from fans.diffusion.samplers.multistep import DPMSolverPP2M, UniPC
from fans.diffusion.samplers.plan import Sampler, Stages, combined, stacked, with_gains
from fans.diffusion.samplers.posterior import DDIM, Ancestral, Eta, Exact
from fans.diffusion.samplers.published import ArticleEuler, ScalarDDPM

SamplerName = Literal["ddim", "ancestral", "exact", "euler", "heun", "dpmpp_2m", "unipc"]
SamplerLike = Sampler | SamplerName
_NAMED: dict[str, type[Sampler]] = {
    "ddim": DDIM,
    "ancestral": Ancestral,
    "euler": Euler,
    "heun": Heun,
    "dpmpp_2m": DPMSolverPP2M,
    "unipc": UniPC,
}


def resolve(sampler: SamplerLike, spectrum: Spectrum | None = None) -> Sampler:
    """The sampler that a name stands for, or the given one.

    Args:
        sampler: an instance, or a name.
        spectrum: power of the data per coefficient, for ``"exact"``.

    Raises:
        ValueError: an unknown name, or ``"exact"`` without a spectrum.
        TypeError: neither a name nor a sampler.
    """
    if isinstance(sampler, Sampler):
        return sampler
    if not isinstance(sampler, str):
        raise TypeError(f"sampler={sampler!r}: must be a name or an instance, such as 'ddim' or Eta(0.5)")
    if sampler == "exact":
        if spectrum is None:
            raise ValueError("sampler='exact' needs spectrum=, the power of the data per coefficient")
        return Exact(spectrum)
    if sampler not in _NAMED:
        allowed = ", ".join(get_args(SamplerName))
        raise ValueError(f"sampler={sampler!r}: must be {allowed}, or an instance such as Eta(0.5)")
    return _NAMED[sampler]()


__all__ = [
    "DDIM",
    "Ancestral",
    "ArticleEuler",
    "DPMSolverPP2M",
    "Eta",
    "Euler",
    "Exact",
    "Heun",
    "Sampler",
    "SamplerLike",
    "SamplerName",
    "ScalarDDPM",
    "Stages",
    "UniPC",
    "combined",
    "resolve",
    "stacked",
    "with_gains",
]
