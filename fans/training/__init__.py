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

from fans.training.adversarial import Adversarial, AdversarialConfig, Pictures
from fans.training.checks import Images
from fans.training.config import TrainingConfig
from fans.training.distillation import DistillationConfig, Distiller, Student
from fans.training.generator import Fitting, FittingConfig
from fans.training.loop import Record, Trainer, load_denoiser
from fans.training.streams import derived_seed, noise, order, timesteps

__all__ = [
    "Adversarial",
    "AdversarialConfig",
    "DistillationConfig",
    "Distiller",
    "Fitting",
    "FittingConfig",
    "Images",
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
