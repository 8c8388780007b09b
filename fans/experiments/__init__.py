"""Named experiments: a frozen configuration each, trained once, verified ever after.

>>> from fans import experiments
>>> experiments.get("fans-pltb").budgets
(0, 150, 450)
"""

# ruff: noqa: E402 - packages of the extra are asked for by name before modules import them.

from fans._validation import require_extra

require_extra("train", "safetensors", "pandas", "tqdm", "accelerate", "diffusers", name="fans.experiments")

from fans.experiments import catalogue as catalogue  # whose experiments are known from here on
from fans.experiments.config import Data, Experiment, Scale
from fans.experiments.kinds.denoising import Arm, Denoising
from fans.experiments.kinds.discriminator import DiscriminatorBed
from fans.experiments.kinds.gan import Gan
from fans.experiments.kinds.generator import GeneratorBed
from fans.experiments.registry import get, kind, names, register
from fans.experiments.reproduce import reproduce
from fans.experiments.results import Result, check, load
from fans.experiments.run import Measure, Run
from fans.experiments.store import StaleError, home

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
    "Run",
    "Scale",
    "StaleError",
    "check",
    "get",
    "home",
    "kind",
    "load",
    "names",
    "register",
    "reproduce",
]
