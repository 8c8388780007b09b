"""The loops that pipelines run around a scheduler, with any network.

Most pipelines call ``scale_model_input``, the network and ``step`` for each timestep. A few schedulers need
more: the previous estimate, the next timestep, a correcting step. Each loop does what the scheduler's own
pipeline in diffusers does, and nothing else.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

Predict = Callable[[Tensor, Any], Tensor]  # from state and timestep to the network's output
PipelineLoop = Callable[[Any, Tensor, Predict, dict[str, Any]], Tensor]


def _plain_over(times: Any, scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    for t in times:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, t)  # sets what step needs
        x = scheduler.step(predict(x, t), t, x, **options, return_dict=False)[0]
    return x


def plain(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """One call of the network for each timestep."""
    return _plain_over(scheduler.timesteps, scheduler, x, predict, options)


def ends_at_zero(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """The last timestep is where the sample is done."""
    return _plain_over(scheduler.timesteps[:-1], scheduler, x, predict, options)


def batched_time(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """As ``ends_at_zero``, and every sample of the batch has a timestep of its own."""
    for t in scheduler.timesteps[:-1]:
        x = scheduler.step(predict(x, t), t.expand(len(x)), x, **options, return_dict=False)[0]
    return x


def widened(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """The network predicts for several times at once; a denoiser has the same estimate for all."""

    def wide(x: Tensor, t: Any) -> Tensor:
        return torch.cat([predict(x, t)] * scheduler.n_grid, -1)

    return plain(scheduler, x, wide, options)


def cogvideox(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """A multi-step solver whose memory the pipeline keeps."""
    old, back = None, None
    for t in scheduler.timesteps:
        x, old = scheduler.step(predict(x, t), old, t, back, x, **options, return_dict=False)
        back = t
    return x


def unclip(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """The step is told where it ends."""
    times = [*scheduler.timesteps, None]
    for t, s in pairwise(times):
        x = scheduler.step(predict(x, t), t, x, prev_timestep=s, **options, return_dict=False)[0]
    return x


def repaint(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """Inpainting in which no pixel is known; where the timesteps jump up, noise is added again."""
    nothing = torch.zeros_like(x)
    last = scheduler.timesteps[0] + 1
    for t in scheduler.timesteps:
        if t < last:
            x = scheduler.step(predict(x, t), t, x, nothing, nothing, **options, return_dict=False)[0]
        else:
            x = scheduler.undo_step(x, last)
        last = t
    return x


def renoised(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """Between steps the estimate is mixed with the noise that the sample started from."""
    options = options | {
        "dmd_noisy_tensor": x.reshape(len(x), *[1] * (5 - x.ndim), *x.shape[1:]),
        "dmd_sigmas": scheduler.sigmas,
        "dmd_timesteps": scheduler.timesteps,
        "all_timesteps": scheduler.timesteps,
    }
    shape = x.shape
    for k, t in enumerate(scheduler.timesteps):
        video, output = (y.reshape(options["dmd_noisy_tensor"].shape) for y in (x, predict(x, t)))
        stepped = scheduler.step(output, t, video, cur_sampling_step=k, **options, return_dict=False)[0]
        x = stepped.reshape(shape)
    return x


def karras_ve(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """Churn, an Euler step, and Heun's correction unless the step ends at zero."""
    for t in scheduler.timesteps:
        level = scheduler.schedule[t]
        after = scheduler.schedule[t - 1] if t > 0 else 0
        churned, raised = scheduler.add_noise_to_input(x, level)
        x, slope = scheduler.step(predict(churned, raised), raised, after, churned, return_dict=False)
        if after != 0:
            again = predict(x, after)
            x = scheduler.step_correct(again, raised, after, churned, x, slope, return_dict=False)[0]
    return x


def score_ve(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """The predictor alone: the corrector's step depends on the norm of the sample and is not linear."""
    scheduler.set_sigmas(len(scheduler.timesteps))
    mean = x
    for t in scheduler.timesteps:
        x, mean = scheduler.step_pred(predict(x, t), t, x, return_dict=False)
    return mean


def score_vp(scheduler: Any, x: Tensor, predict: Predict, options: dict[str, Any]) -> Tensor:
    """Euler and Maruyama's method; the result is the last mean."""
    mean = x
    for t in scheduler.timesteps:
        x, mean = scheduler.step_pred(predict(x, t), x, t)
    return mean


LOOPS: dict[str, PipelineLoop] = {
    loop.__name__: loop
    for loop in (
        plain,
        ends_at_zero,
        batched_time,
        widened,
        cogvideox,
        unclip,
        repaint,
        renoised,
        karras_ve,
        score_ve,
        score_vp,
    )
}
