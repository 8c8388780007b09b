"""What must not lose work: signals, what cannot be saved, tied weights, outputs in objects, wrong use."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fans import diffusion
from fans.diffusion.sampling import sample
from fans.networks import UNet, UNetConfig
from fans.training import Record, Trainer, TrainingConfig, checkpoints, load_denoiser
from fans.training.interruption import EXIT_CODE

SIZE = (8, 8)
WHITE = diffusion.white(size=SIZE)
SHORT = TrainingConfig(steps=8, batch=2, log_every=2, save_every=6, decay="constant")
IMAGES = torch.randn(6, 1, *SIZE, generator=torch.Generator().manual_seed(0)) / 2


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Equal sums on every machine."""


def trainer(folder: Path | None = None, config: TrainingConfig = SHORT, **options: Any) -> Trainer:
    network = options.pop("network", None) or UNet(UNetConfig(widths=(4, 8), groups=2))
    images, process = options.pop("images", IMAGES), options.pop("process", WHITE)
    return Trainer(
        network, images, process, config, folder=folder, accelerator=Accelerator(cpu=True), **options
    )


class Plain(nn.Module):
    """A filter with a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        nn.init.constant_(self.conv.weight, 0.1)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor) -> Any:
        return self.conv(x)


class Found(NamedTuple):
    sample: Tensor


class Wrapped(Plain):
    """As networks of diffusers answer."""

    def forward(self, x: Tensor, t: Tensor) -> Any:
        return Found(self.conv(x))


class Listed(Plain):
    def forward(self, x: Tensor, t: Tensor) -> Any:
        return (self.conv(x), None)


class Tied(Plain):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(1, 1, 3, padding=1)
        self.again.weight = self.conv.weight
        nn.init.zeros_(self.again.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor) -> Any:
        return self.again(self.conv(x))


class Complex(Plain):
    """A gain for each frequency, which is complex."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((8, 5), 0.5, dtype=torch.complex64))

    def forward(self, x: Tensor, t: Tensor) -> Any:
        return torch.fft.irfft2(torch.fft.rfft2(self.conv(x)) * self.gain, s=SIZE)


class Sparse(Plain):
    """It holds what no file of weights can."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.eye(3).to_sparse())


# Signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_saves_at_the_next_step_and_exits_with_its_own_code(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    outside = signal.signal(number, signal.SIG_DFL)  # ignored where tests run under nohup

    def interrupt(record: Record) -> None:
        if record["step"] == 4:
            signal.raise_signal(number)

    try:
        with pytest.raises(SystemExit) as ended:
            trainer(tmp_path / "one").run(on_record=interrupt)
        assert ended.value.code == EXIT_CODE == 75
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, outside)
    found = checkpoints.newest(tmp_path / "one")
    assert found is not None and found.name == "step-00000004"  # save_every is 6: nothing else saved it
    trainer(tmp_path / "one").run()
    whole = trainer(tmp_path / "two")
    whole.run()
    resumed = checkpoints.load(tmp_path / "one/step-00000008").tensors
    for group, named in checkpoints.load(tmp_path / "two/step-00000008").tensors.items():
        for key, value in named.items():
            assert torch.equal(value, resumed[group][key]), (group, key)


def test_signals_that_are_ignored_stay_so_and_runs_without_folder_hear_none(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        run = trainer(tmp_path)
        run.run(on_record=lambda record: signal.raise_signal(signal.SIGHUP))
        assert run.step == SHORT.steps
    finally:
        signal.signal(signal.SIGHUP, before)
    heard: list[Any] = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(signal.getsignal(signal.SIGTERM)))
    try:
        trainer().run(on_record=lambda record: signal.raise_signal(signal.SIGTERM))
        assert len(heard) == SHORT.steps // SHORT.log_every
    finally:
        signal.signal(signal.SIGTERM, before)


# Saving


def test_what_cannot_be_saved_fails_before_the_first_step(tmp_path: Path) -> None:
    run = trainer(tmp_path, network=Sparse())
    with pytest.raises(ValueError, match=r"model: 'mask' is a torch\.sparse_coo tensor: only dense"):
        run.run()
    assert run.step == 0 and checkpoints.every(tmp_path) == []


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    trainer(tmp_path, network=Tied()).run(until=4)
    resumed = trainer(tmp_path, network=Tied())
    assert resumed.step == 4
    resumed.run()
    network = resumed.denoiser()
    assert isinstance(network, Tied) and network.again.weight is network.conv.weight
    whole = trainer(network=Tied())
    whole.run()
    assert whole.history[-1]["loss"] == resumed.history[-1]["loss"]
    loaded = load_denoiser(tmp_path, Tied())
    assert isinstance(loaded, Tied) and loaded.again.weight is loaded.conv.weight


def test_complex_weights_train_and_resume(tmp_path: Path) -> None:
    trainer(tmp_path, network=Complex()).run(until=4)
    resumed = trainer(tmp_path, network=Complex())
    resumed.run()
    whole = trainer(network=Complex())
    whole.run()
    assert whole.history[-1]["loss"] == resumed.history[-1]["loss"]


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "."])
def test_names_of_groups_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        checkpoints.save(tmp_path / "run", 1, {name: {"w": torch.ones(1)}}, {})
    with pytest.raises(ValueError, match="step"):
        checkpoints.save(tmp_path / "run", -1, {"model": {"w": torch.ones(1)}}, {})
    assert list(tmp_path.rglob("*.safetensors")) == []


# Networks of other libraries


@pytest.mark.parametrize("kind", [Wrapped, Listed])
def test_outputs_in_objects_are_unwrapped_in_training_and_sampling(kind: type[Plain]) -> None:
    plain, other = trainer(network=Plain()), trainer(network=kind())
    assert [r["loss"] for r in plain.run()] == [r["loss"] for r in other.run()]
    images = [
        sample(
            WHITE,
            run.denoiser(),
            (2, 1, *SIZE),
            generator=diffusion.streams(0, 2),
            steps=3,
            prediction="v_prediction",
        )
        for run in (plain, other)
    ]
    assert torch.equal(*images)


def test_an_output_without_images_is_refused() -> None:
    class Wrong(Plain):
        def forward(self, x: Tensor, t: Tensor) -> Any:
            return {"sample": x}

    with pytest.raises(TypeError, match=r"returned dict: must be a tensor, an object whose \.sample is one"):
        trainer(network=Wrong()).run()


# Wrong use


def test_a_denoiser_is_used_for_what_it_was_trained_for(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    network = load_denoiser(tmp_path, UNet(UNetConfig(widths=(4, 8), groups=2)))
    options: dict[str, Any] = {"generator": torch.Generator(), "steps": 2}
    sample(WHITE, network, (1, 1, *SIZE), prediction="v_prediction", **options)
    red = diffusion.power_law(-1.0, size=SIZE)
    cases: list[tuple[Any, tuple[int, ...], dict[str, Any], str]] = [
        (WHITE, (1, 1, *SIZE), {}, "prediction='v_prediction', not 'sample'"),
        (red, (1, 1, *SIZE), {"prediction": "v_prediction"}, "process 'white' of 8 x 8.*not 'power law -1'"),
        (WHITE, (1, 3, *SIZE), {"prediction": "v_prediction"}, r"images \(1, 8, 8\), not \(3, 8, 8\)"),
    ]
    for process, shape, wrong, message in cases:
        with pytest.raises(ValueError, match=message):
            sample(process, network, shape, **wrong, **options)
    with pytest.raises(ValueError, match="not 'power law -1'"):
        load_denoiser(tmp_path, UNet(UNetConfig(widths=(4, 8), groups=2)), process=red)


def test_resume_notices_images_beyond_the_first_and_another_forward(tmp_path: Path) -> None:
    listed = list(IMAGES)
    trainer(tmp_path, images=listed, network=Plain()).run(until=6)
    with pytest.raises(ValueError, match="other images"):
        trainer(tmp_path, images=[listed[0], *(2 * x for x in listed[1:])], network=Plain())
    with pytest.raises(ValueError, match="other network model"):
        trainer(tmp_path, images=listed, network=Wrapped())


def test_only_a_run_with_a_constant_rate_can_be_continued_for_longer(tmp_path: Path) -> None:
    trainer(tmp_path / "constant").run()
    longer = trainer(tmp_path / "constant", replace(SHORT, steps=12))
    assert [record["step"] for record in longer.run()][-1] == 12
    whole = trainer(config=replace(SHORT, steps=12)).run()
    assert longer.history[-1]["loss"] == whole[-1]["loss"]
    cosine = replace(SHORT, decay="cosine")
    trainer(tmp_path / "cosine", cosine).run()
    with pytest.raises(ValueError, match="other steps"):
        trainer(tmp_path / "cosine", replace(cosine, steps=12))


def test_images_far_from_their_range_are_refused_unless_allowed() -> None:
    with pytest.raises(ValueError, match=r"root mean square .*x / 127\.5 - 1"):
        trainer(images=127.5 * (IMAGES + 1))
    trainer(images=127.5 * (IMAGES + 1), config=replace(SHORT, check_range=False, steps=1)).run()


def test_a_run_shorter_than_the_log_has_a_record() -> None:
    assert [record["step"] for record in trainer(config=replace(SHORT, steps=1, log_every=50)).run()] == [1]
