"""The experiments of the book, by name."""

from dataclasses import replace
from difflib import get_close_matches
from itertools import product

from fans.runs.config import Arm, Data, Experiment, Options, Scale, smoke

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


def _compared(name: str) -> Experiment:
    budgets = (0, 150, 450, 1350) if name == "photographs" else (0, 150, 450)
    return Experiment(f"fans-{name}", _DATA[name], RIVALS, budgets=budgets)


def _terms(alpha: int) -> Experiment:
    return Experiment(
        f"terms-{alpha}",
        Data("power_law", options={"alpha": float(alpha)}),
        _TERMS[:1] if alpha == 0 else _TERMS,
        budgets=(50, 150, 450, 1350),
        sampler_steps=(5, 20, 100),
        features=(),
    )


def _faults(name: str) -> Experiment:
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
    return Experiment(f"faults-{name}", _DATA[name], tuple(arms), budgets=(450,), sampler_steps=(100,))


_CPU = {
    experiment.name: experiment
    for experiment in (
        *map(_compared, _DATA),
        *map(_terms, range(4)),
        _faults("photographs"),
        _faults("pltb"),
    )
}


def _paper(name: str, data: Data, **sizes: tuple[int, ...]) -> Experiment:
    """The published comparison at its own scale: the U-Net of DDPM, T = 1000, 200 000 steps."""
    widths = sizes.get("widths", (128, 256, 256, 256))
    return Experiment(
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
        samples=10_000,
        features=("spectrum", "scattering", "efficientnet"),
        grid_steps=10_000,
    )


_WIDE = (128, 128, 256, 256, 512)
_GPU = {
    experiment.name: experiment
    for experiment in (
        _paper("fans-cifar10", Data("hub:uoft-cs/cifar10", 32, 3, 50_000, {"column": "img"})),
        _paper("fans-celeba", Data("hub:nielsr/CelebA-faces", 64, 3, 162_770), widths=_WIDE),
        _paper("fans-dtd", Data("hub:tanganke/dtd", 64, 3, 3_760), widths=_WIDE),
        _paper("fans-universe", Data("hub:matthieulel/galaxy10_decals", 64, 3, 15_000), widths=_WIDE),
        *(
            _paper(f"fans-{name}", replace(_DATA[name], size=64, count=50_000), widths=_WIDE)
            for name in ("pltb", "egm", "photographs", "stars")
        ),
    )
}


def names(scale: Scale = "cpu") -> tuple[str, ...]:
    """Experiments that exist at a scale; ``smoke`` has those of both others.

    >>> "fans-pltb" in names()
    True
    """
    return tuple({"cpu": _CPU, "gpu": _GPU, "smoke": _CPU | _GPU}[scale])


def get(name: str, scale: Scale = "cpu") -> Experiment:
    """An experiment by name; at ``smoke``, its form that runs in seconds.

    Raises:
        ValueError: no such experiment at this scale.

    >>> get("fans-pltb", "smoke").budgets
    (0, 2)
    """
    if scale not in ("smoke", "cpu", "gpu"):
        raise ValueError(f"scale={scale!r}: must be one of smoke, cpu, gpu")
    known = names(scale)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"no experiment {name!r} at scale {scale!r}: {hint}there are {', '.join(known)}")
    if scale == "smoke":
        return smoke(_CPU[name] if name in _CPU else _GPU[name])
    return (_CPU if scale == "cpu" else _GPU)[name]
