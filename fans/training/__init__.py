"""Training a denoiser: one loop for CPU, CUDA, MPS and several processes, resumed bit for bit.

What happens at a step depends on (seed, step) alone: image n of the run, its noise and its timestep are those
of n, however many processes share the batch. A run that was killed and resumed therefore ends in the weights
of one that was not; exactly so on the same device with the same number of threads and processes.

>>> import torch
>>> from fans.networks import UNet, UNetConfig
>>> from fans.diffusion import white
>>> images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)) / 4
>>> network = UNet(UNetConfig(widths=(4, 8), groups=4))
>>> trainer = Trainer(network, images, white(size=(8, 8)), TrainingConfig(steps=4, batch=4, log_every=2))
>>> [record["step"] for record in trainer.run()]
[2, 4]
>>> trainer.denoiser()(images[:1], torch.tensor([500])).shape
torch.Size([1, 1, 8, 8])
"""

# ruff: noqa: E402 - packages of the extra are asked for by name before modules import them.

from fans._validation import require_extra

require_extra("train", "safetensors", "tqdm", "accelerate", "diffusers", name="fans.training")

from fans.training.adversarial import Adversarial, AdversarialConfig, Pictures
from fans.training.checks import Images
from fans.training.config import LoopConfig, TrainingConfig
from fans.training.diffusion import Trainer, load_denoiser
from fans.training.distillation import DistillationConfig, Distiller, Student
from fans.training.generator import Fitting, FittingConfig
from fans.training.interruption import EXIT_CODE
from fans.training.loop import Loop
from fans.training.state import Record
from fans.training.streams import derived_seed, noise, order, timesteps

__all__ = [
    "EXIT_CODE",
    "Adversarial",
    "AdversarialConfig",
    "DistillationConfig",
    "Distiller",
    "Fitting",
    "FittingConfig",
    "Images",
    "Loop",
    "LoopConfig",
    "Pictures",
    "Record",
    "Student",
    "Trainer",
    "TrainingConfig",
    "derived_seed",
    "load_denoiser",
    "noise",
    "order",
    "timesteps",
]
