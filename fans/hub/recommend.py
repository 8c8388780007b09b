"""Which scheduler, with which options, for one trained network and a given number of its calls."""

from importlib import import_module
from inspect import signature
from typing import Any, Literal

import torch

from fans.hub.conventions import CONVENTIONS, edm, flow, sigma, solver, vp
from fans.hub.impulses import Count, noise_from
from fans.hub.prepare import Prepared, unscanned
from fans.hub.scan import Scan, scan

Family = Literal["vp", "flow", "edm"]
FAMILIES: dict[str, tuple[Any, ...]] = {"vp": (vp, sigma, solver), "flow": (flow, solver), "edm": (edm,)}
_FLOW: dict[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
_VARIANTS: tuple[dict[str, Any], ...] = (
    {"timestep_spacing": "leading"},
    {"timestep_spacing": "trailing"},
    {"timestep_spacing": "linspace"},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
)


def recommend(
    spectrum: Any,
    calls: int,
    *,
    family: Family = "vp",
    order: Literal["rms", "worst"] = "rms",
    variants: bool = True,
    **shared: Any,
) -> list[Scan]:
    """All samplers that fit a network, the one with the least error first.

    A network is trained on one noise schedule, so only schedulers that can share it are compared, with as
    many steps as the given number of calls allows.

    Args:
        spectrum: C, power of the data per frequency.
        calls: of the network.
        family: what the network was trained on: ``"vp"`` (a table of betas), ``"flow"`` or ``"edm"``.
        order: sorted by ``rms`` or ``worst`` of the error in dB.
        variants: scan the spacings and the Karras, exponential and beta sigmas of each scheduler too.
        shared: options of the noise schedule (``beta_schedule``, ``beta_start``, ``shift`` ...), given to
            every scheduler that has them.

    Returns:
        Scans, sorted; ``name``, ``steps`` and ``options`` say how to set each scheduler up.

    >>> best = recommend([1.0, 0.1, 0.01], 10, family="edm")[0]
    >>> best.name, best.calls
    ('EDMDPMSolverMultistepScheduler', 10)
    """
    if family not in FAMILIES:
        raise ValueError(f"family={family!r}: must be one of {', '.join(FAMILIES)}")
    scans = []
    for name, known in _members(family).items():
        needed = _FLOW if family == "flow" and CONVENTIONS[name].level is solver else {}
        base = needed | {key: value for key, value in shared.items() if key in known}
        steps = steps_for(name, calls, **base)
        own = [v for v in _VARIANTS if v.keys() <= known - base.keys()] if variants and not needed else []
        scans += [scan(name, spectrum, steps, **base, **variant) for variant in ({}, *own) if steps]
    return sorted(scans, key=lambda s: s.rms if order == "rms" else s.worst)


def steps_for(scheduler: str, calls: int, **options: Any) -> int:
    """Most steps for which the scheduler calls the network at most ``calls`` times; 0 if there are none.

    >>> steps_for("HeunDiscreteScheduler", 9)
    5
    """
    steps = calls
    while steps > 0 and (made := _calls(scheduler, steps, options)) > calls:
        steps = min(steps - 1, steps * calls // made)
    while 0 < steps < calls and _calls(scheduler, steps + 1, options) <= calls:
        steps += 1
    return steps


def _calls(scheduler: str, steps: int, options: dict[str, Any]) -> int:
    """Calls of the network in so many steps; more than any number where the scheduler refuses them."""
    try:
        prepared = Prepared(scheduler, steps, options)
        with noise_from(prepared.scheduler, Count()):
            prepared.run(torch.zeros(1, 1, 1, 1, dtype=torch.float64), lambda x, state: x)
    except (ValueError, IndexError, ZeroDivisionError):  # schedulers refuse in many ways
        return 10**9
    return prepared.calls


def _members(family: Family) -> dict[str, set[str]]:
    """Schedulers of a family, each with the names of its options."""
    missing = unscanned()
    names = [
        name
        for name, convention in CONVENTIONS.items()
        if convention.level in FAMILIES[family] and name not in {*_OTHER_SCHEDULE, *missing}
    ]
    known = {
        name: set(signature(getattr(import_module("diffusers.schedulers"), name).__init__).parameters)
        for name in names
    }
    if family == "flow":  # solvers are of this family if they can be told so
        return {n: k for n, k in known.items() if CONVENTIONS[n].level is flow or _FLOW.keys() <= k}
    return known


# schedulers of these families whose noise schedule is their own, or that do more than denoise
_OTHER_SCHEDULE = {
    "CogVideoXDDIMScheduler",
    "CogVideoXDPMScheduler",
    "CosineDPMSolverMultistepScheduler",
    "HeliosScheduler",
    "PiflowScheduler",
    "RePaintScheduler",
    "UnCLIPScheduler",
}
