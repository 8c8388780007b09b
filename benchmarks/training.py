"""What colour costs in training, and sampling and memory beside diffusers, with the U-Net for the CPU.

    python benchmarks/training.py [--rounds 61] [--out benchmarks/training.json]

Every candidate is checked before it is timed. Candidates and reference then alternate in one process with one
thread: a ratio is the CPU time of a candidate over the mean of the references before and after it, and what
counts is the median, with its standard error and the quartiles. The first candidate is the reference once
more, which shows what can be resolved. Memory is that of fresh processes, on Linux.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import quantiles
from time import process_time
from typing import Any

import accelerate
import diffusers
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from fans import diffusion, images
from fans.diffusion import SpectralProcess, filtered, losses
from fans.diffusion.sampling import sample
from fans.networks import UNet, UNetConfig
from fans.training import Trainer, TrainingConfig

Run = Callable[[], object]
Summary = dict[str, float]
SIZES = (16, 32)
MEMORY_RUNS = ("white, flat", "fans, flat", "fans, unit")
hub: Any = diffusers  # it has no types


def data(size: int) -> tuple[Tensor, Tensor]:
    """Grey photographs, and their mean power per coefficient."""
    x = images.load("photographs", size=size, count=512).mean(1, keepdim=True)
    return x, torch.fft.rfft2(x.double(), norm="ortho").abs().square().mean((0, 1))


def unet(size: int) -> UNet:
    """The preset ``cpu``, its last layer random: an untrained network predicts 0, which checks nothing."""
    network = UNet(UNetConfig())
    nn.init.normal_(network.blocks.conv_out.weight, std=0.02, generator=torch.Generator().manual_seed(0))
    network.blocks.register_to_config(sample_size=size)  # the pipeline asks for it
    return network


def processes(size: int, spectrum: Tensor) -> dict[str, SpectralProcess]:
    """White and all that is compared with it."""
    plane = (size, size)
    return {
        "white": diffusion.white(size=plane),
        "fans": diffusion.fans(spectrum, size=plane),
        "equal_snr": diffusion.equal_snr(spectrum, size=plane),
        "power_law": diffusion.power_law(-1.0, size=plane),
        "blur": diffusion.blur(size=plane),
        "fans_as_published, article": diffusion.fans_as_published(spectrum, size=plane),
        "fans_as_published, code": diffusion.fans_as_published(spectrum, size=plane, release="code"),
    }


# Training


def step_runs(size: int) -> tuple[Run, dict[str, Run]]:
    """A training step of the white process, and of each with two weights: equal everywhere, and coloured."""
    x, spectrum = data(size)

    def build(spectral: SpectralProcess, loss: Any, log_every: int = 10**6) -> Trainer:
        config = TrainingConfig(10**6, batch=32, prediction="v_prediction", loss=loss, log_every=log_every)
        return Trainer(unet(size), x, spectral, config, spectrum=spectrum)

    chosen = processes(size, spectrum)
    runs: dict[str, Run] = {}
    for name, spectral in chosen.items():
        for loss in ("flat", "unit"):
            check_loss(build(spectral, loss, log_every=1), loss, spectrum)
            runs[f"{name}, {loss}"] = partial(one_step, build(spectral, loss))
    return partial(one_step, build(chosen["white"], "flat")), runs


def one_step(trainer: Trainer) -> None:
    trainer.run(until=trainer.step + 1)


def check_loss(trainer: Trainer, loss: Any, spectrum: Tensor) -> None:
    """The loss of the first step is ``<e, W e>``, with W as a filter and e by definition, in float64."""
    spectral, kind = trainer.process, trainer.config.prediction
    weight = losses.weights(spectral, loss, kind, spectrum=spectrum)
    x_0, epsilon, t = trainer.draw(0)
    x_0, epsilon = x_0.double(), epsilon.double()
    with torch.no_grad():
        predicted = deepcopy(trainer.network)(spectral.add_noise(x_0, epsilon, t).float(), t)
    error = predicted - spectral.target(x_0, epsilon, t, kind)
    expected = float((error * filtered(error, weight[t])).mean())
    found = trainer.run(until=1)[0]["loss"]
    if abs(found / expected - 1) > 1e-4:
        raise SystemExit(f"{spectral.name}: loss {found} instead of {expected}: nothing was timed")


# Sampling


def sampler_runs(size: int, *, idle: bool, batch: int = 16, steps: int = 10) -> tuple[Run, dict[str, Run]]:
    """Images in [0, 1] by DDIMPipeline, and by ``sample`` with the same network.

    An idle network answers without computing, which takes nearly all the time: then the rest shows.
    """
    network, shape = unet(size).eval().requires_grad_(False), (batch, 1, size, size)
    if idle:
        answer = UNet2DOutput(torch.randn(shape, generator=torch.Generator().manual_seed(1)) / 4)
        network.blocks.forward = lambda *_, **__: answer
    options = {"clip_sample": False, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    pipeline = hub.DDIMPipeline(network.blocks, hub.DDIMScheduler(**options))
    pipeline.set_progress_bar_config(disable=True)

    def theirs() -> Tensor:
        found: Tensor = pipeline(batch, torch.Generator().manual_seed(0), 0.0, steps, output_type="pt").images
        return found

    def ours(spectral: SpectralProcess, shift: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(shape, generator=generator)
        predict = (lambda x, t: network(x, t - shift)) if shift else network
        options: dict[str, Any] = {"steps": steps, "prediction": "v_prediction", "start": start}
        return (sample(spectral, predict, shape, generator=generator, **options) / 2 + 0.5).clamp(0, 1)

    check_images(theirs(), partial(ours, shift=1), size)
    chosen = processes(size, data(size)[1])
    runs: dict[str, Run] = {name: partial(ours, chosen[name]) for name in ("white", "fans", "blur")}
    return theirs, {"DDIMPipeline": theirs} | runs


def check_images(theirs: Tensor, ours: Callable[[SpectralProcess], Tensor], size: int) -> None:
    """Agreement with the pipeline: without FFTs, and with those that the same tables over the plane need.

    Its timestep t is our t + 1: it has no clean state, and counts the noisy ones from 0.
    """
    white = diffusion.white(size=(size, size), schedule="linear")
    tables = (table.expand(-1, size, size // 2 + 1) for table in (white.signal_table, white.noise_table))
    clipped = float(((theirs == 0) | (theirs == 1)).double().mean())
    for spectral in (white, SpectralProcess("white by FFT", white.size, *tables)):
        error = float((ours(spectral) - theirs).abs().max())
        if error > 1e-5 or clipped > 0.5:
            raise SystemExit(f"{spectral.name}: {error} off, {clipped:.0%} clipped: nothing was timed")


# Memory


def our_training(name: str, network: UNet, x: Tensor, spectrum: Tensor, batch: int) -> Run:
    """Three steps of a process with a loss."""
    colour, loss = name.split(", ")
    settings: dict[str, Any] = {"steps": 3, "batch": batch, "loss": loss}
    spectral = processes(x.shape[-1], spectrum)[colour]
    return Trainer(network, x, spectral, TrainingConfig(**settings), spectrum=spectrum).run


def their_training(network: UNet, x: Tensor, batch: int) -> Run:
    """Three steps of diffusers' examples/unconditional_image_generation, with its defaults and EMA."""
    accelerator, scheduler, model = accelerate.Accelerator(), hub.DDPMScheduler(), network.blocks
    ema = EMAModel(model.parameters(), decay=0.9999, use_ema_warmup=True, power=0.75)
    optimizer: Any = torch.optim.AdamW(model.parameters(), 1e-4, (0.95, 0.999), weight_decay=1e-6)
    rate: Any = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=10_000)
    loader: Any = DataLoader(x, batch, shuffle=True)  # type: ignore[arg-type]
    model, optimizer, loader, rate = accelerator.prepare(model, optimizer, loader, rate)

    def step(clean: Tensor) -> float:
        noise = torch.randn(clean.shape)
        t = torch.randint(0, 1000, (len(clean),))
        noisy = scheduler.add_noise(clean, noise, t)
        with accelerator.accumulate(model):
            loss = F.mse_loss(model(noisy, t).sample.float(), noise.float())
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
            optimizer.zero_grad()
        ema.step(model.parameters())
        return loss.detach().item()

    return lambda: [step(clean) for clean in islice(loader, 3)]


def measure(name: str) -> dict[str, float]:
    """MiB that a training run takes at its peak beyond what this process held after a tiny run.

    The tiny run loads code and buffers of libraries. ``run`` is all that was allocated since; ``step`` leaves
    out what stands when the first step begins: tables of the process and the loss, averaged weights.
    """
    x, spectrum = data(32)
    build: Callable[..., Run] = partial(their_training, unet(32), x)
    if name != "diffusers":
        build = partial(our_training, name, unet(32), x, spectrum)
    build(batch=2)()
    before = resident()
    steps = build(batch=128)
    built = resident()
    steps()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"step": peak - built, "run": peak - before}


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def child(name: str) -> dict[str, float]:
    """``measure`` in a fresh process that returns freed tensors to the system: no fragments are counted."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", name]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Memory of each training run over that of diffusers in the same round."""
    ratios: dict[str, dict[str, list[float]]] = {part: {} for part in ("step", "run")}
    for _ in range(rounds):
        theirs = child("diffusers")
        for name in MEMORY_RUNS:
            for part, ours in child(name).items():
                ratios[part].setdefault(name, []).append(ours / theirs[part])
    return ratios


# Comparing


def cpu_times(reference: Run, runs: Mapping[str, Run], rounds: int) -> dict[str, list[float]]:
    """CPU time of each run over the mean of the references right before and right after it, per round."""
    ratios: dict[str, list[float]] = {name: [] for name in runs}
    before = seconds(reference)
    for _ in range(rounds):
        for name, run in runs.items():
            own, after = seconds(run), seconds(reference)
            ratios[name].append(2 * own / (before + after))
            before = after
    return ratios


def seconds(run: Run) -> float:
    """CPU time of the second of two calls, which does not find the cache and heap that another run left."""
    run()
    start = process_time()
    run()
    return process_time() - start


def report(title: str, ratios: Mapping[str, list[float]], bar: float | None) -> dict[str, Summary]:
    """Print and return quartiles; a median more than two standard errors above the bar misses it."""
    print(f"\n{title}" + (f", bar {bar}" if bar else ""))
    found: dict[str, Summary] = {}
    for name, values in ratios.items():
        lower, median, upper = quantiles(values, n=4)
        error = 0.93 * (upper - lower) / len(values) ** 0.5  # of the median, if values scatter normally
        row: Summary = {"median": median, "error": error, "lower": lower, "upper": upper}
        missed = bar is not None and median - 2 * error > bar
        found[name] = {key: round(value, 4) for key, value in row.items()} | {"missed": missed}
        line = "{median:.3f} ± {error:.3f} [{lower:.3f}, {upper:.3f}]".format(**row)
        print(f"  {name:34}{line}{'  MISSED' if missed else ''}", flush=True)
    return found


def measure_all(rounds: int) -> dict[str, dict[str, Summary]]:
    """Quartiles of every comparison; those of memory, which hardly scatters, from fewer rounds."""
    comparisons: tuple[tuple[str, Callable[[int], tuple[Run, dict[str, Run]]], float], ...] = (
        ("training step / white, flat", step_runs, 1.03),
        ("sampling / DDIMPipeline", partial(sampler_runs, idle=False), 1.0),
        ("sampling with an idle network / DDIMPipeline", partial(sampler_runs, idle=True), 1.0),
    )
    found: dict[str, dict[str, Summary]] = {}
    for size in SIZES:
        for title, build, bar in comparisons:
            name = f"{title}, {size} x {size}"
            found[name] = report(name, cpu_times(*build(size), rounds), bar)
    for part, ratios in memory(max(2, rounds // 12)).items():
        name = f"memory of a {part} / diffusers, 32 x 32"
        found[name] = report(name, ratios, 1.0 if part == "step" else None)
    return found


def main() -> None:
    """Run all comparisons, print tables and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=61)
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    found = measure_all(options.rounds)
    versions = {module.__name__: module.__version__ for module in (torch, hub, accelerate)}
    made_with = {"python": platform.python_version(), **versions, "load": round(os.getloadavg()[0], 1)}
    content = {"threads": 1, "rounds": options.rounds, "made with": made_with, "ratios": found}
    if options.out:
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    if any(row["missed"] for rows in found.values() for row in rows.values()):
        sys.exit("a bar was missed")


if __name__ == "__main__":
    main()
