"""Experiments of low-rank adapters (``fans.experiments.kinds.adapters``).

``base-NAME`` pretrains a small vision-language model; ``adapters-NAME`` adapts it by every initialisation,
of rank 8. ``adapters-ranks`` has other ranks, ``adapters-optimiser`` an optimiser that takes the
parametrisation out; all these choose a rate for each arm. ``adapters-modality`` changes the variance of the
visual tokens, with the rates chosen before, and ``adapters-rates`` the rate.
"""

from collections.abc import Mapping

from fans.adapters.hub import MODELS
from fans.adapters.initialisation import Method
from fans.experiments.config import Data, Options
from fans.experiments.kinds.adapters import AdapterArm, Adapting, HubAdapting, Pretraining
from fans.experiments.registry import register

METHODS: Mapping[str, Method] = {
    "LoRA": "lora",
    "Gaussian": "gaussian",
    "reversed": "reversed",
    "PiSSA": "pissa",
    "OLoRA": "olora",
    "EVA": "eva",
    "CorDA": "corda",
    "QLoRA": "qlora",
    "LoftQ, T = 1": "loftq",
    "LoftQ, T = 5": "loftq_5",
    "QPiSSA": "qpissa",
}
SOURCES = ("LoRA", "PiSSA", "EVA", "LoftQ, T = 1")  # the arms of the sources
RATES = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
VARIANCES = (2.0, 3.0)  # of the visual tokens, in units of that of the words; 1 is in ``adapters-qwen2.5-vl``


def _grid(*rates: float) -> tuple[Options, ...]:
    return tuple({"rate": rate} for rate in rates)


# The best rate and its neighbours on a 1-2-5 scale, found by going on wherever the best was at the end.
_SLOW, _FAST = _grid(2e-3, 5e-3, 1e-2), _grid(5e-3, 1e-2, 2e-2)
_MIDDLE = _grid(2e-3, 5e-3, 1e-2, 2e-2)
_QWEN = {
    "PiSSA": _grid(1e-3, 2e-3, 5e-3),
    "OLoRA": _SLOW,
    "CorDA": _grid(1e-4, 2e-4, 5e-4),
    "Gaussian": _MIDDLE,
    "QPiSSA": _grid(1e-3, 2e-3, 5e-3, 1e-2),
}
# PiSSA's best rate falls with the rank, as the energy that its factors hold grows.
_RANKS: Mapping[int, Mapping[str, tuple[Options, ...]]] = {
    2: {
        "LoRA": _grid(5e-3, 1e-2, 2e-2, 5e-2),
        "PiSSA": _grid(1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2),
        "EVA": _grid(5e-3, 1e-2, 2e-2, 5e-2),
    },
    4: {
        "LoRA": _grid(5e-3, 1e-2, 2e-2, 5e-2),
        "PiSSA": _grid(1e-3, 2e-3, 5e-3, 1e-2, 2e-2),
        "EVA": _FAST,
    },
    16: {"LoRA": _MIDDLE, "PiSSA": _grid(1e-3, 2e-3, 5e-3), "EVA": _FAST},
    32: {"LoRA": _MIDDLE, "PiSSA": _grid(5e-4, 1e-3, 2e-3, 5e-3), "EVA": _FAST},
}
_CHOSEN = {"LoRA": 1e-2, "PiSSA": 2e-3, "EVA": 1e-2, "LoftQ, T = 1": 1e-2}  # of these

register(
    Pretraining("base-qwen2.5-vl", architecture="qwen2.5-vl"),
    Pretraining("base-idefics3", architecture="idefics3"),
    Adapting(
        "adapters-qwen2.5-vl",
        arms=(
            AdapterArm("full", "full", grid=_grid(5e-4, 1e-3, 2e-3)),
            *(AdapterArm(name, method, grid=_QWEN.get(name, _FAST)) for name, method in METHODS.items()),
        ),
        base="base-qwen2.5-vl",
    ),
    Adapting(
        "adapters-idefics3",
        arms=(
            AdapterArm("full", "full", grid=_grid(5e-4, 1e-3, 2e-3, 5e-3)),
            AdapterArm("LoRA", "lora", grid=_MIDDLE),
            AdapterArm("PiSSA", "pissa", grid=_grid(1e-3, 2e-3, 5e-3)),
            AdapterArm("EVA", "eva", grid=_MIDDLE),
            AdapterArm("LoftQ, T = 1", "loftq", grid=_FAST),
        ),
        architecture="idefics3",
        base="base-idefics3",
    ),
    Adapting(
        "adapters-modality",
        arms=tuple(
            AdapterArm(f"{name}, {gain:g}", METHODS[name], gain=gain, options={"rate": _CHOSEN[name]})
            for name in SOURCES
            for gain in VARIANCES
        ),
        base="base-qwen2.5-vl",
    ),
    Adapting(
        "adapters-ranks",
        arms=tuple(
            AdapterArm(f"{name}, {rank}", METHODS[name], rank=rank, grid=grid)
            for rank, grids in _RANKS.items()
            for name, grid in grids.items()
        ),
        base="base-qwen2.5-vl",
    ),
    Adapting(
        "adapters-optimiser",
        arms=(
            AdapterArm("LoRA", "lora", riemannian=True, grid=_MIDDLE),
            AdapterArm("PiSSA", "pissa", riemannian=True, grid=_grid(1e-3, 2e-3, 5e-3, 1e-2)),
        ),
        base="base-qwen2.5-vl",
    ),
    Adapting(
        "adapters-rates",
        arms=tuple(
            AdapterArm(f"{name}, {rate:g}", METHODS[name], options={"rate": rate})
            for name in ("LoRA", "reversed", "PiSSA")
            for rate in RATES
        ),
        seeds=3,
        base="base-qwen2.5-vl",
    ),
)

# Rank, samples and warm-up of the sources; 16 instructions a step make 1875 steps of an epoch. The rates are
# theirs and those on both sides of it.
register(
    *(
        HubAdapting(
            f"adapters-{model}",
            arms=tuple(
                AdapterArm(name, METHODS[name], grid=_grid(2e-5, 5e-5, 1e-4, 2e-4, 5e-4)) for name in SOURCES
            ),
            data=Data("hub:llava-instruct", 24, 3, 30_000),
            budgets=(1875,),
            batch=1,
            accumulate=16,
            model=model,
        )
        for model in MODELS
    ),
    scale="gpu",
)
