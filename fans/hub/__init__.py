"""The ecosystem of diffusers: which of its schedulers loses which frequencies, and what to do about it.

>>> from fans import hub
>>> result = hub.scan("EulerDiscreteScheduler", [1.0, 0.1, 0.01], 20)
>>> [round(e, 1) for e in result.error.tolist()]
[-0.8, -1.9, -5.3]
"""

from fans.hub.conventions import NetworkCall
from fans.hub.corrections import corrected, last_step, output_filter
from fans.hub.detectability import sampler_auc, steps_until_undetected
from fans.hub.prepare import schedulers, unscanned
from fans.hub.recommend import recommend, steps_for
from fans.hub.scan import Scan, scan, simulate

__all__ = [
    "NetworkCall",
    "Scan",
    "corrected",
    "last_step",
    "output_filter",
    "recommend",
    "sampler_auc",
    "scan",
    "schedulers",
    "simulate",
    "steps_for",
    "steps_until_undetected",
    "unscanned",
]
