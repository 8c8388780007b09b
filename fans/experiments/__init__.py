"""Named experiments: a frozen configuration each, trained once, verified ever after.

>>> from fans import experiments
>>> experiments.get("fans-pltb").budgets
(0, 150, 450)
"""

from fans.experiments.beds import DiscriminatorBed, Gan, GeneratorBed
from fans.experiments.config import Arm, Data, Denoising, Experiment, Scale
from fans.experiments.registry import get, names
from fans.experiments.reproduce import reproduce
from fans.experiments.results import Result, StaleError, check, home, load
from fans.experiments.run import Measure

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
