"""The ecosystem of diffusers: which of its schedulers loses which frequencies."""

from fans.hub.conventions import State
from fans.hub.recommend import recommend, steps_for
from fans.hub.scan import Scan, scan, schedulers, simulate, unscanned

__all__ = ["Scan", "State", "recommend", "scan", "schedulers", "simulate", "steps_for", "unscanned"]
