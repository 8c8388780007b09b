"""The ecosystem of diffusers: which of its schedulers loses which frequencies."""

from fans.hub.conventions import State
from fans.hub.scan import Scan, scan, schedulers, simulate, unscanned

__all__ = ["Scan", "State", "scan", "schedulers", "simulate", "unscanned"]
