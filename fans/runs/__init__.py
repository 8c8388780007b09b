"""Named experiments: a frozen configuration each, trained once, verified ever after.

>>> from fans import runs
>>> runs.get("fans-pltb").budgets
(0, 150, 450)
"""

from fans.runs.beds import DiscriminatorBed, Gan, GeneratorBed
from fans.runs.config import Arm, Data, Denoising, Experiment, Scale
from fans.runs.registry import get, names
from fans.runs.reproduce import reproduce
from fans.runs.results import Result, StaleError, check, home, load
from fans.runs.train import Measure

__all__ = [
    "Arm",
    "Data",
    "Denoising",
    "DiscriminatorBed",
    "Experiment",
    "Gan",
    "GeneratorBed",
    "Measure",
    "Result",
    "Scale",
    "StaleError",
    "check",
    "get",
    "home",
    "load",
    "names",
    "reproduce",
]
