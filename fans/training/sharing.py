"""What the processes of a training run share: the first weights, buffers, gradients and the wish to end.

Gradients are averaged once a step, as one tensor, after all backward passes. That holds for any number of
networks, for parts of a batch and for penalties on gradients, which wrappers of networks do not know.

Start several with ``accelerate launch`` on GPUs, and on CPUs with
``ACCELERATE_USE_CPU=1 torchrun --nproc_per_node 2 script.py``: ``accelerate launch --cpu`` starts only one.
"""

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn


def share(accelerator: Accelerator, tensors: Iterable[Tensor]) -> None:
    """Give all processes the values of the main one, in place."""
    if accelerator.num_processes > 1:
        for tensor in tensors:
            broadcast(tensor.detach())


def average_gradients(accelerator: Accelerator, parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over processes; all must have them of the same parameters."""
    if accelerator.num_processes == 1:
        return
    found = [p.grad for p in parameters if p.grad is not None]
    for dtype in sorted({gradient.dtype for gradient in found}, key=str):
        alike = [gradient for gradient in found if gradient.dtype == dtype]
        mean = accelerator.reduce(torch.cat([gradient.flatten() for gradient in alike]), "mean")
        for gradient, part in zip(alike, mean.split([g.numel() for g in alike]), strict=True):
            gradient.copy_(part.view_as(gradient))


def agreed(accelerator: Accelerator, wish: bool) -> bool:
    """Whether any process has a wish: the same answer in all."""
    if accelerator.num_processes == 1:
        return wish
    return bool(accelerator.reduce(torch.tensor(float(wish), device=accelerator.device), "sum"))
