"""Training a denoiser for a spectral process, and loading what it became."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fans._validation import known
from fans.diffusion import SpectralProcess, Spectrum, losses
from fans.diffusion.denoisers import TrainedFor, labelled
from fans.training import checkpoints, checks
from fans.training.checks import Images
from fans.training.config import TrainingConfig
from fans.training.loop import Loop, Terms, Which
from fans.training.state import take
from fans.training.streams import noise, order, timesteps


class Trainer(Loop):
    """The training of a denoiser, resumed from its folder if that holds a checkpoint.

    Attributes:
        network: the denoiser.
        process: its noising process.
        trained_for: both of them and the shape of the images, as checkpoints and denoisers know it.
    """

    config: TrainingConfig

    def __init__(
        self,
        network: nn.Module,
        images: Images,
        process: SpectralProcess,
        config: TrainingConfig,
        *,
        folder: Path | str | None = None,
        spectrum: Spectrum | None = None,
        weight: Tensor | losses.Weights | None = None,
        accelerator: Accelerator | None = None,
        made_from: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            network: called with images and timesteps; trained in place.
            images: (N, C, H, W), or a sequence of (C, H, W) of float32.
            process: noising process.
            config: everything else.
            folder: for checkpoints and ``log.jsonl``; nothing is written without one.
            spectrum: power of the data per coefficient, for the losses and importances that need it.
            weight: of ``loss="custom"``: a table, or ``fans.diffusion.losses.Weights``.
            accelerator: chooses device and processes; without one, ``accelerate launch`` does.
            made_from: more hashes of what a checkpoint can only be continued with.

        Raises:
            ValueError: arguments that do not fit each other, or a checkpoint of another run.
        """
        checks.check_fit(network, images, process, config)
        self.network, self.process = network, process
        self._weights = checks.loss_weights(process, config, spectrum, weight)
        kind = config.prediction
        self._probability = losses.timestep_probability(
            process, self._weights, config.importance, kind, spectrum
        )
        self._correction = losses.correction(self._probability).float()
        self.trained_for = TrainedFor.of(process, kind, images[0].shape)
        super().__init__(
            {"model": network},
            images,
            config,
            made_from=checks.made_from(process, self._weights) | dict(made_from or {}),
            facts={"trained_for": self.trained_for},
            folder=folder,
            accelerator=accelerator,
        )

    def losses(self) -> dict[str, Callable[[int], Terms]]:
        """The weighted error of the prediction."""
        return {"model": self.loss}

    def loss(self, part: int) -> dict[str, Tensor]:
        """Mean loss of one part of this process's share of the batch."""
        x_0, epsilon, t = self.draw(self.step, part)
        x_t, target = losses.noised(self.process, x_0, epsilon, t, self.config.prediction)
        return {"loss": self.error(x_0, x_t, target, t)}

    def error(self, x_0: Tensor, x_t: Tensor, target: Tensor, t: Tensor) -> Tensor:
        """Mean loss for images, noisy images, what to predict, and timesteps on the CPU."""
        prediction = self.forward("model", x_t, t.to(x_t.device))
        return losses.weighted_error(prediction - target, self.weight(t)).mean()

    def weight(self, t: Tensor) -> Tensor:
        """Rows of the loss for timesteps that are drawn so often, where the network is."""
        rows = self._weights.rows(t, dtype=torch.float32, device=self.device)
        return rows * self._correction[t].to(self.device)[:, None, None]

    def draw(self, step: int, part: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Images, white noise and timesteps (on the CPU) of this process at a step."""
        config, images, numbers = self.config, self.images, self.share(part, batch=step)
        index = order(config.seed, len(images), numbers)
        few = images[index] if isinstance(images, Tensor) else torch.stack([images[int(i)] for i in index])
        x_0 = few.to(self.device, torch.float32)
        epsilon = noise(config.seed, x_0.shape, numbers.start, device=x_0.device)
        first = numbers.start - step * config.batch
        t = timesteps(config.seed, step, config.batch, self._probability)[first : first + len(numbers)]
        return x_0, epsilon, t

    def denoiser(self, which: Which = "ema") -> nn.Module:
        """A copy of the network for sampling, with the averaged or the current weights."""
        return self.averaged(which)

    def averaged(self, which: Which = "ema") -> nn.Module:
        """The same; it knows as ``trained_for`` what it was trained for."""
        return labelled(super().averaged(which), self.trained_for)


def load_denoiser(
    folder: Path | str,
    network: nn.Module,
    *,
    which: Which = "ema",
    process: SpectralProcess | None = None,
    prediction: str | None = None,
) -> nn.Module:
    """Load the newest whole checkpoint of a run into a network, ready for sampling.

    Args:
        folder: of the run.
        network: of the same sizes; changed in place.
        which: averaged weights, or those of the last step.
        process, prediction: that it is to be used with; compared with those of the run if given.

    Returns:
        The network. It knows as ``trained_for`` what it was trained for, and samplers compare.

    Raises:
        FileNotFoundError: no whole checkpoint in the folder.
        ValueError: the run had another process or prediction; names both.
    """
    known("which", which, ("ema", "model"))
    found = checkpoints.newest(Path(folder))
    if found is None:
        raise FileNotFoundError(f"{folder}: no whole checkpoint there; train with this folder first")
    checkpoint = checkpoints.load(found)
    trained_for = checks.trained_for(checkpoint)
    trained_for.check(process, prediction)
    network.load_state_dict(checkpoint.tensors["model"])
    if which == "ema":
        take(network, checkpoint.tensors["ema"])
    return labelled(network.eval().requires_grad_(False), trained_for)
