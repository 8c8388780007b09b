"""Experiments with coloured noise.

``fans-NAME`` compares FANS with its rivals, ``terms-A`` takes the errors of white noise apart for power laws
of exponent A, ``faults-NAME`` prices the faults of the released code.
"""

from dataclasses import replace
from itertools import product

from fans.experiments.catalogue.sources import CELEBA, SOURCES, as_published
from fans.experiments.config import Data, Options
from fans.experiments.kinds.denoising import Arm, Denoising
from fans.experiments.registry import register

# What the authors' plan suggests (weights and exponents between 0.3 and 1.5), with and without annealing.
GRID: tuple[Options, ...] = tuple(
    {"alpha": alpha, "beta": beta, "gamma": gamma}
    for alpha, beta, gamma in product((0.3, 0.6), (0.5, 1.5), (0.0, 1.0))
)
_PLAIN = (
    Arm("white"),
    Arm("FANS", "fans", grid=GRID),
    Arm("FANS as published", "fans_as_published", method="euler"),
    Arm("EqualSNR", "equal_snr", loss="whitened_velocity"),
    Arm("power law", "power_law", {"alpha": -0.25}),
)
SPECTRAL = tuple(
    replace(arm, name=f"{arm.name}, spectral", precondition="spectral", loss="unit") for arm in _PLAIN
)
CONTROLS = (
    Arm("white, scalar", precondition="scalar", loss="unit"),
    Arm("white, linear", network="linear"),
)
RIVALS = (*_PLAIN, *SPECTRAL, *CONTROLS)

_TERMS = (Arm("white"), Arm("white, spectral", precondition="spectral", loss="unit"))


def _compared(name: str) -> Denoising:
    budgets = (0, 150, 450, 1350) if name == "photographs" else (0, 150, 450)
    return Denoising(f"fans-{name}", SOURCES[name], RIVALS, budgets=budgets)


def _terms(alpha: int) -> Denoising:
    return Denoising(
        f"terms-{alpha}",
        Data("power_law", options={"alpha": float(alpha)}),
        _TERMS[:1] if alpha == 0 else _TERMS,
        budgets=(50, 150, 450, 1350),
        sampler_steps=(5, 20, 100),
        features=(),
    )


def _faults(name: str) -> Denoising:
    arms = [
        Arm(label, "fans_as_published", {"faults": faults}, method="euler")
        for label, faults in {
            "published": ["guardrail", "prior", "velocity", "score"],
            "guardrail repaired": ["prior", "velocity", "score"],
            "prior repaired": ["guardrail", "velocity", "score"],
            "velocity repaired": ["guardrail", "prior", "score"],
            "all repaired": [],
        }.items()
    ]
    return Denoising(f"faults-{name}", SOURCES[name], tuple(arms), budgets=(450,), sampler_steps=(100,))


def _paper(
    name: str, data: Data, *, widths: tuple[int, ...] = (128, 128, 256, 256, 512), samples: int = 10_000
) -> Denoising:
    """The published comparison at its own scale: the U-Net of DDPM, T = 1000, 200 000 steps."""
    return Denoising(
        name,
        data,
        RIVALS,
        budgets=(0, 10_000, 50_000, 200_000),
        widths=widths,
        layers=2,
        attention=(1,),
        groups=32,
        batch=128,
        rate=2e-4,
        ema=0.9999,
        precision="bf16",
        sampler_steps=(50, 100, 200, 1000),
        samples=samples,
        features=("spectrum", "scattering", "efficientnet"),
        grid_steps=10_000,
    )


# Six held-out images for every sample are needed, none resampled or shown twice: CIFAR-10 has 20 000 to
# spare if 40 000 are for training. Of larger originals there are as many crops as one wants.
_CIFAR = {"column": "img", "hub_split": {"train": "train[:40000]", "test": "train[40000:]+test"}}
register(
    *map(as_published, (*map(_compared, SOURCES), *map(_terms, range(4)), _faults("pltb"))),
)
register(
    _paper(
        "fans-cifar10",
        Data("hub:uoft-cs/cifar10", 32, 3, 40_000, _CIFAR),
        widths=(128, 256, 256, 256),
        samples=3_300,
    ),
    _paper("fans-celeba", CELEBA),
    _paper("fans-dtd", Data("hub:tanganke/dtd", 64, 3, 3_760)),
    _paper("fans-universe", Data("hub:matthieulel/galaxy10_decals", 64, 3, 15_000)),
    *(
        _paper(f"fans-{name}", replace(SOURCES[name], size=64, count=50_000))
        for name in ("pltb", "egm", "photographs", "stars")
    ),
    scale="gpu",
)
