"""The experiments of the book, by name."""

from dataclasses import replace
from difflib import get_close_matches
from itertools import product
from typing import get_args

from fans.experiments import beds
from fans.experiments.compression import capacity, distillation, patient, published, strength
from fans.experiments.config import Arm, Data, Denoising, Experiment, Options, Scale

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

_DATA = {
    "pltb": Data("pltb", options={"normalise": False}),
    "egm": Data("egm"),
    "rings": Data("rings"),
    "photographs": Data("photographs"),
    "grass": Data("grass"),
    "stars": Data("stars"),
}
_TERMS = (Arm("white"), Arm("white, spectral", precondition="spectral", loss="unit"))


def _compared(name: str) -> Denoising:
    budgets = (0, 150, 450, 1350) if name == "photographs" else (0, 150, 450)
    return Denoising(f"fans-{name}", _DATA[name], RIVALS, budgets=budgets)


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
    return Denoising(f"faults-{name}", _DATA[name], tuple(arms), budgets=(450,), sampler_steps=(100,))


_COMPRESSED = {"photographs": (200, 800), "grass": (200, 800), "pltb": (800,), "rings": (800,)}


def _capacity(name: str) -> Denoising:
    return capacity(name, _DATA[name], budgets=_COMPRESSED[name])


def _distillation(name: str) -> Denoising:
    return distillation(name, _DATA[name], rivals=name in ("photographs", "grass"))


_CPU: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        *map(_compared, _DATA),
        *map(_terms, range(4)),
        _faults("pltb"),
        *map(_capacity, _COMPRESSED),
        *map(_distillation, _COMPRESSED),
        strength("photographs", _DATA["photographs"], mean=7.6),
        strength("grass", _DATA["grass"], mean=3.2),
        *patient("photographs", _DATA["photographs"]),
        *beds.CPU,
    )
}


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
_GPU: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        _paper(
            "fans-cifar10",
            Data("hub:uoft-cs/cifar10", 32, 3, 40_000, _CIFAR),
            widths=(128, 256, 256, 256),
            samples=3_300,
        ),
        _paper("fans-celeba", Data("hub:flwrlabs/celeba", 64, 3, 162_770)),
        _paper("fans-dtd", Data("hub:tanganke/dtd", 64, 3, 3_760)),
        _paper("fans-universe", Data("hub:matthieulel/galaxy10_decals", 64, 3, 15_000)),
        *(
            _paper(f"fans-{name}", replace(_DATA[name], size=64, count=50_000))
            for name in ("pltb", "egm", "photographs", "stars")
        ),
        *published("celeba", Data("hub:flwrlabs/celeba", 64, 3, 162_770)),
        *beds.GPU,
    )
}
_FID_FEATURES = 2048  # which samples must outnumber


def names(scale: Scale = "cpu") -> tuple[str, ...]:
    """Experiments that exist at a scale; ``smoke`` has those of both others.

    Raises:
        ValueError: no such scale.

    >>> "fans-pltb" in names()
    True
    """
    return tuple(_known(scale))


def _known(scale: Scale) -> dict[str, Experiment]:
    known = {"cpu": _CPU, "gpu": _GPU, "smoke": _GPU | _CPU}
    if scale not in known:
        raise ValueError(f"scale={scale!r}: must be one of {', '.join(get_args(Scale))}")
    return known[scale]


def get(name: str, scale: Scale = "cpu", *, fid: bool = False) -> Experiment:
    """An experiment by name; at ``smoke``, its form that runs in seconds.

    Args:
        name: one of ``names(scale)``.
        scale: ``cpu``, ``gpu`` or ``smoke``.
        fid: adds the features ``inception``, which only torch-fidelity has and no experiment asks for itself,
            to those that compare features.

    Raises:
        ValueError: no such experiment at this scale, or too few samples for the FID.

    >>> get("fans-pltb", "smoke").budgets
    (0, 2)
    """
    known = _known(scale)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"no experiment {name!r} at scale {scale!r}: {hint}there are {', '.join(known)}")
    found = known[name].smoke() if scale == "smoke" else known[name]
    if not (fid and found.features):
        return found  # test beds know which image each should be, and compare no features
    if found.samples <= _FID_FEATURES:
        raise ValueError(
            f"the FID needs more than {_FID_FEATURES} samples, and {name!r} at scale {scale!r} has"
            f" {found.samples}: leave fid out, or take scale 'gpu'"
        )
    # First, since the last features are those that grids are chosen by.
    return replace(found, features=("inception", *found.features))
