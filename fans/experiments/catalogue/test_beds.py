"""Experiments of the test beds, after Schwarz et al. 2021 and the remedies of ``fans.networks.gan_remedies``.

``generator-NAME`` fits ten images with each upsampling, with and without the spectral loss.
``discriminator-NAME`` learns ten images through discriminators of each pooling, with and without a spectral
one. ``gan-NAME`` trains a GAN with each upsampling, and remedies on the first of them.
"""

from dataclasses import replace
from typing import Any

from fans.experiments.catalogue.sources import CELEBA
from fans.experiments.config import Data
from fans.experiments.kinds.discriminator import DiscriminatorBed
from fans.experiments.kinds.gan import Gan
from fans.experiments.kinds.generator import GeneratorBed
from fans.experiments.kinds.test_beds import BedArm, Critic
from fans.experiments.registry import register
from fans.filters import Upsampling
from fans.networks.gan import Pooling
from fans.networks.gan_remedies import CARRIERS

_UPSAMPLINGS: tuple[Upsampling, ...] = ("nearest", "bilinear", "zeros", "shuffle")
_POOLINGS: tuple[Pooling, ...] = ("average", "stride", "blur")
# No released configuration has the spectral loss, so its weights are ours.
_PENALTIES: dict[str, dict[str, Any]] = {"": {}, ", spectral": {"penalty": "spectral", "weight": 0.03}}
_FITS = tuple(
    BedArm(f"{method}{label}", method, **options)
    for label, options in _PENALTIES.items()
    for method in _UPSAMPLINGS
)
_CRITICS: dict[str, Critic] = {"": "spatial", ", spectral": "dual"}
_LEARNERS = tuple(
    BedArm(f"{method}{label}", pooling=method, critic=critic)
    for label, critic in _CRITICS.items()
    for method in _POOLINGS
)
# At 16 pixels the published carriers would be one cycle per image.
_QUARTERS = tuple((4 * y, 4 * x) for y, x in CARRIERS)


def _remedies(carriers: Any) -> tuple[BedArm, ...]:
    return (
        BedArm("nearest", translated=True),
        *(BedArm(method, method) for method in _UPSAMPLINGS[1:]),
        BedArm("nearest, zeros last", last="zeros"),
        BedArm("nearest, spectral loss", penalty="spectral", weight=0.3),
        BedArm("nearest, focal loss", penalty="focal", weight=1.0),
        BedArm("nearest, carriers", carriers=carriers),
        BedArm("nearest, spectral critic", critic="dual"),
        BedArm("nearest, spectral critic detached", critic="detached"),
    )


_FIT: dict[str, Any] = {"batch": 10, "ema": 0.0, "samples": 16, "features": ()}
_GAN: dict[str, Any] = {"ema": 0.99, "r1": 0.3, "r1_every": 8, "offset": 1e-3}
_SMALL_GAN: dict[str, Any] = {
    "widths": (24, 24, 16),
    "critic_widths": (12, 24, 24),
    "latent": 32,
    "batch": 16,
}
_RINGS, _PHOTOGRAPHS = Data("rings", 32, count=10), Data("photographs", 32, count=10)

CPU = (
    GeneratorBed("generator-rings", _RINGS, _FITS, budgets=(0, 200, 700), rate=2e-3, **_FIT),
    GeneratorBed("generator-photographs", _PHOTOGRAPHS, _FITS, budgets=(0, 200, 700), rate=2e-3, **_FIT),
    Gan(
        "gan-photographs",
        Data("photographs", 16),
        _remedies(_QUARTERS),
        budgets=(0, 300, 900),
        rate=2e-3,
        critic_rate=2e-3,
        **_GAN,
        **_SMALL_GAN,
    ),
    DiscriminatorBed(
        "discriminator-rings",
        replace(_RINGS, size=16),
        _LEARNERS,
        budgets=(0, 200, 600),
        critic_widths=(16, 32, 32),
        rate=2e-2,
        critic_rate=2e-3,
        r1=1.0,
        **(_FIT | {"ema": 0.99}),
    ),
)

_PAPER: dict[str, Any] = {"widths": (64, 64, 64, 64, 32), "critic_widths": (32, 64, 64, 64, 64)}
_LONG: dict[str, Any] = {"budgets": (0, 10_000, 30_000, 100_000), "rate": 1e-3, **_PAPER, **_FIT}
_GAN_LONG: dict[str, Any] = {"budgets": (0, 10_000, 100_000), "samples": 10_000, "rate": 1e-3}

GPU = (
    GeneratorBed("generator-rings", replace(_RINGS, size=64), _FITS, **_LONG),
    GeneratorBed("generator-photographs", replace(_PHOTOGRAPHS, size=64, channels=3), _FITS, **_LONG),
    *(
        Gan(f"gan-{name}", data, _remedies(CARRIERS), **_GAN_LONG, **_GAN, **_PAPER)
        for name, data in (
            ("photographs", Data("photographs", 64, 3, 50_000)),
            ("celeba", CELEBA),
        )
    ),
    DiscriminatorBed(
        "discriminator-rings", replace(_RINGS, size=64), _LEARNERS, **(_LONG | {"rate": 1e-2, "ema": 0.999})
    ),
)

register(*CPU)
register(*GPU, scale="gpu")
