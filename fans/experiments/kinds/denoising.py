"""Experiments with diffusion models: a noising process, a network, a loss and a sampler per arm."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from fans import diffusion
from fans.diffusion import Prediction, PublishedFans, SpectralProcess, plane_mean
from fans.diffusion.losses import Loss
from fans.diffusion.preconditioning import Preconditioned
from fans.experiments.config import Experiment, Options
from fans.experiments.data import Images
from fans.experiments.kinds.denoiser_measures import TrainedDenoiser, draw, likelihood
from fans.experiments.kinds.samples import BANDS, evaluated
from fans.experiments.registry import kind
from fans.experiments.run import SHOWN, Measure, Run
from fans.metrics.evaluation import evaluate
from fans.networks import LinearDenoiser, UNet, UNetConfig
from fans.training import Trainer, TrainingConfig

ProcessName = Literal["white", "fans", "fans_as_published", "equal_snr", "power_law"]
Precondition = Literal["none", "scalar", "spectral"]
NetworkName = Literal["unet", "linear"]
LINEAR_RATE = 10.0  # a gain takes larger steps than a weight of a network
SMOKE_LEVELS, SMOKE_GROUPS = 3, 8


@dataclass(frozen=True)
class Arm:
    """One method of a comparison.

    Attributes:
        name: in tables and legends.
        process: noising process.
        options: of the process.
        precondition: ``spectral`` brings input and target to unit power at every frequency, ``scalar`` on
            average over all.
        network: U-Net, or one learned gain per ring and time.
        loss: of ``fans.diffusion.losses.weights``.
        method: of the sampler.
        grid: alternatives to ``options``, of which validation chooses one.
    """

    name: str
    process: ProcessName = "white"
    options: Options = field(default_factory=dict)
    precondition: Precondition = "none"
    network: NetworkName = "unet"
    loss: Loss = "velocity"
    method: Literal["ddim", "euler"] = "ddim"
    grid: tuple[Options, ...] = ()

    @property
    def prediction(self) -> Prediction:
        """What the network predicts; without a preconditioner, something that scalars turn into an image."""
        return "v_pixel" if self.precondition == "none" else "v_prediction"


@dataclass(frozen=True)
class Denoising(Experiment):
    """Diffusion models, one noising process and network per arm.

    Attributes:
        widths: of the U-Net, as the next four (``fans.networks.UNetConfig``).
        layers: of the U-Net.
        attention: of the U-Net.
        groups: of the U-Net.
        time_scale_shift: of the U-Net.
        timesteps: T.
        sampler_steps: numbers of steps of the sampler that each budget is judged with.
        grid_steps: training steps for each point of a grid.
    """

    arms: tuple[Arm, ...]
    widths: tuple[int, ...] = (8, 16, 16)
    layers: int = 1
    attention: tuple[int, ...] = ()
    groups: int = 8
    time_scale_shift: Literal["scale_shift", "default"] = "scale_shift"
    timesteps: int = 1000
    sampler_steps: tuple[int, ...] = (50,)
    grid_steps: int = 150

    def smoke(self) -> Self:
        """Also with a network of few levels, one layer and the smallest widths, without attention."""
        groups = min(self.groups, SMOKE_GROUPS)
        return replace(
            super().smoke(),
            widths=(groups,) * min(len(self.widths), SMOKE_LEVELS),
            layers=1,
            attention=(),
            groups=groups,
            sampler_steps=(2,),
            grid_steps=2,
        )

    def sizes(self, widths: tuple[int, ...] = (), *, attention: bool = True) -> UNetConfig:
        """Sizes of a U-Net for the images.

        Args:
            widths: other than those of the experiment.
            attention: where the experiment has it, or nowhere.
        """
        return UNetConfig(
            channels=self.data.channels,
            widths=widths or self.widths,
            layers=self.layers,
            attention=self.attention if attention else (),
            groups=self.groups,
            time_scale_shift=self.time_scale_shift,
        )


def _seen(arm: Arm, spectrum: Tensor) -> Tensor:
    """The spectrum as preconditioner and loss of an arm see it: one number for the scalar control."""
    if arm.precondition != "scalar":
        return spectrum
    height, half = spectrum.shape
    return plane_mean(spectrum, (height, 2 * (half - 1))).expand_as(spectrum)


@kind(Denoising)
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

    def sizes(self) -> UNetConfig:
        """Of the U-Net of the arm."""
        return self.experiment.sizes()

    def network(self, noising: SpectralProcess, spectrum: Tensor) -> nn.Module:
        """The network of the arm with its initial weights."""
        arm = self.arm
        if arm.network == "linear":
            return LinearDenoiser(noising.size, noising.timesteps)
        network = UNet(self.sizes(), seed=self.seed)
        if arm.precondition == "none":
            return network
        return Preconditioned(network, noising, _seen(arm, spectrum))

    def denoiser(self, spectrum: Tensor, weights: Mapping[str, Tensor]) -> tuple[SpectralProcess, nn.Module]:
        """Process and trained network, from what was stored of them."""
        noising = self.process(spectrum)
        network = self.network(noising, spectrum)
        network.load_state_dict(dict(weights))
        return noising, network.eval().requires_grad_(False)

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

    def trained(self, trainer: Trainer, images: Images) -> TrainedDenoiser:
        """The averaged network as it is now, on the device that it runs on."""
        process = trainer.process
        return TrainedDenoiser(
            process,
            trainer.denoiser().to(trainer.accelerator.device),
            images,
            seed=self.seed,
            count=self.experiment.samples,
            sampler=process.sampler if isinstance(process, PublishedFans) else self.arm.method,
            prediction=self.arm.prediction,
        )

    def judge(self, course: Trainer, images: Images, budget: int) -> tuple[list[Measure], Tensor]:
        """Likelihood, samples, and what their errors are made of; and some of the samples."""
        return self.measured(self.trained(course, images), budget)

    def measured(self, denoiser: TrainedDenoiser, budget: int) -> tuple[list[Measure], Tensor]:
        """The same of a network, whoever trained it."""
        place, images = (self.arm.name, self.seed, budget), denoiser.images
        found = [
            Measure(*place, None, name, value, unit="nat", low=low, high=high)
            for name, value, low, high in likelihood(denoiser)
        ]
        for steps in self.experiment.sampler_steps:
            drawn, terms = draw(denoiser, steps)
            found += [Measure(*place, steps, name, value, unit="dB") for name, value in terms]
            found += evaluated((*place, steps), drawn, images, self.experiment.features)
        return found, images.restored(drawn[:SHOWN])

    def criterion(self) -> tuple[str, int | None]:
        """Fréchet distance of the last features, with the first number of steps."""
        return f"FD_{self.experiment.features[-1]}", self.experiment.sampler_steps[0]

    def distance(self, course: Trainer, images: Images) -> tuple[float, float]:
        """Fréchet distance of the last features, of samples to the validation images."""
        name = self.experiment.features[-1]
        drawn, _ = draw(self.trained(course, images), self.experiment.sampler_steps[0])
        pair = (images.restored(x) for x in (drawn, images.validate))
        result = evaluate(*pair, features=(name,), bands=BANDS, resamples=100)
        return result.generated.frechet[name], result.floor.frechet[name]
