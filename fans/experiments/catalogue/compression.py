"""Experiments of capacity and distillation.

``capacity-NAME`` trains networks of three sizes and samples from each with few and many steps: errors that
come from size, and errors that come from steps. ``distill-NAME`` trains the smallest with the means of Yang
et al. 2023 (``fans.training.distillation``), and with their controls, for the largest as teacher.
``strength-NAME`` tells the shape of the weight of frequencies from its size. ``capacity-NAME-long`` and
``distill-NAME-long`` train for longer.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fans.experiments.catalogue.sources import CELEBA, SOURCES, as_published
from fans.experiments.config import Data
from fans.experiments.kinds.compression import TEACHER, Compression, Student
from fans.experiments.registry import register

Sizes = Mapping[str, tuple[int, ...]]

_BOTH: Mapping[str, Any] = {"learns": "features", "spatial": 0.1, "frequency": 0.1}


def factorial() -> tuple[Student, ...]:
    """All combinations of wavelet gates, spatial loss and frequency loss."""
    losses: Mapping[str, Mapping[str, Any]] = {
        "": {},
        "spatial": {"learns": "features", "spatial": 0.1},
        "frequency": {"learns": "features", "frequency": 0.1},
        "spatial, frequency": _BOTH,
    }
    return tuple(
        Student(", ".join(filter(None, ("WG" * gated, name))) or "alone", gated=gated, **options)
        for gated in (False, True)
        for name, options in losses.items()
    )


# Controls and rivals. The focal loss has the factor 1 of its released code.
RIVALS = (
    Student("spatial, frequency, alpha 0", **_BOTH, alpha=0.0),
    Student("spatial, frequency, alpha -2", **_BOTH, alpha=-2.0),
    Student("outputs alone", learns="outputs", spatial=0.1, frequency=0.1),
    Student("weight without teacher", learns="target", frequency=0.1),
    Student("focal", learns="target", focal=1.0),
    Student("spectral", precondition="spectral", loss="unit"),
)


_SIZES: Sizes = {"small": (8, 8, 8), "middle": (8, 16, 16), TEACHER: (16, 32, 32)}
# Those of latent diffusion at 64 x 64 x 3, whose smallest is the "Lite" one of the paper.
_PUBLISHED: Sizes = {
    "small": (64, 128, 192, 256),
    "middle": (128, 256, 384, 512),
    TEACHER: (224, 448, 672, 896),
}


def capacity(name: str, data: Data, *, sizes: Sizes = _SIZES, **options: Any) -> Compression:
    """Networks of three sizes, 24 321, 66 553 and 263 025 parameters unless given, and few to many steps."""
    arms = tuple(Student(size, widths=widths) for size, widths in sizes.items())
    given: dict[str, Any] = {"budgets": (200, 800), "sampler_steps": (5, 20, 100)} | options
    return Compression(f"capacity-{name}", data, arms, **given)


def distillation(
    name: str, data: Data, *, rivals: bool, pace: int = 2, pace_with_teacher: int = 8, **options: Any
) -> Compression:
    """The factorial, and plain networks with the time of a student.

    A step with both losses took 2.0 times that of the plain small network, 2.1 with gates, and one of the
    large network 1.7 times (``step time`` of photographs, one core, medians of seeds). So 250 steps with a
    teacher cost 2 x 250 plain ones, and 7.4 x 250 with the 800 of its own training; the control has 8 x 250.

    Args:
        name, data, options: of the experiment.
        rivals: add ``RIVALS``, and the control that also has the time of the teacher's training.
        pace: steps of a plain network in the time of one with a teacher.
        pace_with_teacher: the same, the teacher's training counted once.
    """
    arms = (*factorial(), Student("alone, equal time", pace=pace))
    if rivals:
        arms = (*arms, *RIVALS, Student("alone, time with teacher", pace=pace_with_teacher))
    given: dict[str, Any] = {
        "budgets": (250,),
        "widths": _SIZES["small"],
        "teacher": f"capacity-{name}",
    } | options
    return Compression(f"distill-{name}", data, arms, **given)


def strength(name: str, data: Data, *, mean: float) -> Compression:
    """The spatial loss as strong as the frequency loss of ``distill-NAME``, and the other way round.

    A weight has a size and a shape: ``1 / |X_0|`` is well above 1 for most coefficients of most images, so
    that equal factors make the frequency loss the stronger of both, whatever its shape.

    Args:
        name, data: of the experiment.
        mean: of the weight over training images, coefficients and pairs.
    """
    arms = (
        Student("spatial, strong", learns="features", spatial=0.1 * mean),
        Student("frequency, weak", learns="features", frequency=0.1 / mean),
    )
    return replace(distillation(name, data, rivals=False), name=f"strength-{name}", arms=arms)


def patient(name: str, data: Data) -> tuple[Compression, Compression]:
    """A teacher trained five times as long, and students four times: is help only missed by the hasty?"""
    large = capacity(f"{name}-long", data, sizes={TEACHER: _SIZES[TEACHER]}, seeds=1, budgets=(4000,))
    kept = ("alone", "spatial, frequency", "alone, equal time", "weight without teacher", "spectral")
    every = distillation(f"{name}-long", data, rivals=True, budgets=(250, 1000))
    return large, replace(every, arms=tuple(arm for arm in every.arms if arm.name in kept))


def published(name: str, data: Data) -> tuple[Compression, Compression]:
    """Both experiments at the sizes of the paper.

    The teacher has 12 times the MACs of a student, and its backward pass twice those of the forward pass: a
    step with a teacher costs 5 plain ones, and one of the teacher's training 12.
    """
    common: dict[str, Any] = {
        "layers": 2,
        "attention": (1, 2, 3),
        "groups": 32,
        "batch": 64,
        "rate": 1e-4,
        "ema": 0.9999,
        "precision": "bf16",
        "samples": 10_000,
        "features": ("spectrum", "scattering", "efficientnet"),
    }
    budgets, steps = (20_000, 100_000), (20, 50, 200)
    large = capacity(name, data, sizes=_PUBLISHED, budgets=budgets, sampler_steps=steps, **common)
    common |= {"budgets": budgets, "widths": _PUBLISHED["small"], "sampler_steps": steps[1:]}
    return large, distillation(name, data, rivals=True, pace=5, pace_with_teacher=17, **common)


# Photographs and grass also tell what time brings, and have the rivals.
_BUDGETS = {"photographs": (200, 800), "grass": (200, 800), "pltb": (800,), "rings": (800,)}
_TRAINED = (
    *(capacity(name, SOURCES[name], budgets=budgets) for name, budgets in _BUDGETS.items()),
    *(distillation(name, SOURCES[name], rivals=len(budgets) > 1) for name, budgets in _BUDGETS.items()),
    strength("photographs", SOURCES["photographs"], mean=7.6),
    strength("grass", SOURCES["grass"], mean=3.2),
    *patient("photographs", SOURCES["photographs"]),
)
register(*map(as_published, _TRAINED))
register(*published("celeba", CELEBA), scale="gpu")
