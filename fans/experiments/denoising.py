"""Diffusion models as runs of an experiment: a noising process, a network, a loss and a sampler per arm."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from fans import diffusion
from fans.diffusion import SpectralProcess, plane_mean
from fans.diffusion.preconditioning import Preconditioned
from fans.experiments.config import Arm, Denoising
from fans.experiments.data import Images
from fans.experiments.judge import BANDS, Judged, draw, judge
from fans.experiments.run import Measure, Run
from fans.metrics.evaluation import evaluate
from fans.networks import LinearDenoiser, UNet, UNetConfig
from fans.training import Trainer, TrainingConfig

LINEAR_RATE = 10.0  # a gain takes larger steps than a weight of a network


def _seen(arm: Arm, spectrum: Tensor) -> Tensor:
    """The spectrum as preconditioner and loss of an arm see it: one number for the scalar control."""
    if arm.precondition != "scalar":
        return spectrum
    height, half = spectrum.shape
    return plane_mean(spectrum, (height, 2 * (half - 1))).expand_as(spectrum)


@dataclass(frozen=True)
class DenoisingRun(Run):
    """A diffusion model, trained for its noising process and judged by its samples and likelihood."""

    experiment: Denoising
    arm: Arm
    telling: ClassVar[tuple[str, ...]] = ("bound", "total", "sampler", "slope", "FD")

    def config(self, steps: int) -> TrainingConfig:
        """The numbers of its training."""
        experiment, arm = self.experiment, self.arm
        return TrainingConfig(
            steps=max(steps, 1),
            batch=experiment.batch,
            seed=self.seed,
            prediction=arm.prediction,
            loss=arm.loss,
            rate=experiment.rate * (LINEAR_RATE if arm.network == "linear" else 1),
            decay="constant",
            ema=experiment.ema,
            precision=experiment.precision,
            log_every=max(1, steps // 24),
            save_every=2000,
        )

    def process(self, spectrum: Tensor) -> SpectralProcess:
        """The noising process of the arm, for data of this spectrum."""
        height, half = spectrum.shape
        common = {"size": (height, 2 * (half - 1)), "timesteps": self.experiment.timesteps}
        build = getattr(diffusion, self.arm.process)
        of_data = () if self.arm.process in ("white", "power_law") else (spectrum,)
        made = build(*of_data, **self.options, **common)
        assert isinstance(made, SpectralProcess)
        return made

    def network(self, noising: SpectralProcess, spectrum: Tensor) -> nn.Module:
        """The network of the arm with its initial weights."""
        arm, experiment = self.arm, self.experiment
        if arm.network == "linear":
            return LinearDenoiser(noising.size, noising.timesteps)
        sizes = UNetConfig(
            channels=experiment.data.channels,
            widths=experiment.widths,
            layers=experiment.layers,
            attention=experiment.attention,
            groups=experiment.groups,
        )
        network = UNet(sizes, seed=self.seed)
        if arm.precondition == "none":
            return network
        return Preconditioned(network, noising, _seen(arm, spectrum))

    def trainer(self, images: Images, folder: Path | None, *, steps: int, accelerator: Any = None) -> Trainer:
        """The training run, resumed from its folder, in these or all launched processes."""
        noising = self.process(images.spectrum)
        network = self.network(noising, images.spectrum)
        return Trainer(
            network,
            images.train,
            noising,
            self.config(steps),
            folder=folder,
            spectrum=_seen(self.arm, images.spectrum),
            accelerator=accelerator,
        )

    def judged(self, trainer: Trainer, images: Images) -> Judged:
        """The averaged network as it is now."""
        denoiser = trainer.denoiser().to(trainer.accelerator.device)
        return Judged(self.experiment, self.arm, self.seed, trainer.process, denoiser, images)

    def judge(self, course: Trainer, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
        """Likelihood, samples, and what their errors are made of."""
        return judge(self.judged(course, images), budget)

    def distance(self, course: Trainer, images: Images) -> tuple[float, float]:
        """Fréchet distance of the last features, of samples to the validation images."""
        case, name = self.judged(course, images), self.experiment.features[-1]
        drawn, _ = draw(case, self.experiment.sampler_steps[0])
        pair = (images.restored(x) for x in (drawn, images.validate))
        result = evaluate(*pair, features=(name,), bands=BANDS, resamples=100)
        return result.generated.frechet[name], result.floor.frechet[name]
