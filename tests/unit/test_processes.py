"""Two processes share what a run does: gradients of several networks with their penalty, parts, a signal."""

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from fans.networks.gan import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from fans.training import EXIT_CODE, Adversarial, AdversarialConfig, Fitting, FittingConfig, checkpoints

IMAGES = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)) / 2
SIZES = GeneratorConfig(latent=4, widths=(4, 4))
FIT = FittingConfig(steps=6, batch=4, log_every=3, save_every=6, ema=0.9, clip=1.0, accumulation=2)
GAN = AdversarialConfig(steps=6, batch=4, log_every=3, save_every=6, ema=0.9, r1_every=2)
pytestmark = pytest.mark.usefixtures("one_thread")


def fit(folder: Path, accelerator: Accelerator, config: FittingConfig = FIT, seed: int = 0) -> Fitting:
    return Fitting(Generator(SIZES, seed=seed), IMAGES, config, folder=folder, accelerator=accelerator)


def gan(folder: Path, accelerator: Accelerator, config: AdversarialConfig = GAN, seed: int = 0) -> Any:
    critic = Discriminator(DiscriminatorConfig(widths=(4, 4)), seed=seed)
    generator = Generator(SIZES, seed=seed)
    return Adversarial(generator, critic, IMAGES, config, latent=4, folder=folder, accelerator=accelerator)


def saved(folder: Path) -> dict[str, Tensor]:
    path = checkpoints.newest(folder)
    assert path is not None
    groups = checkpoints.load(path).tensors.items()
    return {f"{group}/{key}": value for group, named in groups for key, value in named.items()}


def take_part(rank: int, port: int, folder: str) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    for name, build in (("fit", fit), ("gan", gan)):
        build(Path(folder) / name, accelerator, seed=rank).run()  # the networks of the main one count
    be_interrupted(rank, Path(folder) / "interrupted", accelerator)
    accelerator.end_training()


def be_interrupted(rank: int, folder: Path, accelerator: Accelerator) -> None:
    """A signal reaches the second process alone, in its third step."""
    run = fit(folder, accelerator)
    losses = run.losses

    def interrupted() -> Any:
        if rank == 1 and run.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return losses()

    run.losses = interrupted  # type: ignore[method-assign]
    try:
        run.run()
    except SystemExit as ended:
        (folder / f"ended-{rank}").write_text(str(ended.code))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.multiprocessing.spawn(take_part, args=(port, str(folder)), nprocs=2)
    return folder


def distance(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    assert one.keys() == two.keys()
    return max(float((value - two[name]).abs().max()) for name, value in one.items())


def test_two_processes_train_generators_and_gans_as_one_does(shared: Path, tmp_path: Path) -> None:
    alone = Accelerator(cpu=True)
    for name, build in (("fit", fit), ("gan", gan)):
        build(tmp_path / name, alone).run()
        expected = saved(tmp_path / name)
        # Other orders of summation, amplified by an Adam that divides by small gradients: below a tenth of a
        # step of 1e-3. The control, another batch, moves the weights by whole steps.
        assert distance(saved(shared / name), expected) < 1e-4
    fit(tmp_path / "other", alone, replace(FIT, seed=1)).run()
    assert distance(saved(tmp_path / "other"), saved(tmp_path / "fit")) > 1e-3


def test_a_signal_to_one_process_ends_both_at_the_same_step(shared: Path) -> None:
    folder = shared / "interrupted"
    assert {(folder / f"ended-{rank}").read_text() for rank in (0, 1)} == {str(EXIT_CODE)}
    assert [path.name for path in checkpoints.every(folder)] == ["step-00000003"]
