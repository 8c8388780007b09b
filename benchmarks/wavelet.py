"""Speed of wavelet transforms beside ptwt and pytorch_wavelets, and of the wavelet-gated U-Net.

    python benchmarks/wavelet.py [--rounds 61] [--out benchmarks/wavelet.json]

Transform and inverse of (32, 3, 64, 64) over 3 levels, without gradients and with them, and a training step
beside that of the plain U-Net of the same widths. At 512 x 512 pixels convolutions win; that row has no bar.
Every candidate is checked before it is timed. Both then take turns in one process with one
thread: what counts is the ratio of their CPU times within a round, median and quartiles.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from time import process_time

import ptwt
import torch
from pytorch_wavelets import DWTForward, DWTInverse
from torch import Tensor, nn
from torch.nn import functional as F

from fans import diffusion
from fans.networks import UNet, UNetConfig, WaveletUNet, WaveletUNetConfig
from fans.training import Trainer, TrainingConfig
from fans.wavelets import wavedec2, waverec2

Run = Callable[[], object]
Summary = dict[str, float | None]
# A transform and its inverse: coefficients in the order of PyWavelets, coarse to fine, and images again.
RoundTrip = Callable[[Tensor], tuple[list[Tensor], Tensor]]
LEVEL, CALLS = 3, 3
NAMES, SHAPE = ["haar", "db2", "db4", "db8"], (32, 3, 64, 64)
LARGE, LARGE_SHAPE = ["db4"], (1, 3, 512, 512)


# Transforms


def ours(name: str) -> RoundTrip:
    def run(x: Tensor) -> tuple[list[Tensor], Tensor]:
        pyramid = wavedec2(x, name, level=LEVEL)
        return [pyramid.ll, *(band for high in pyramid.details for band in high)], waverec2(pyramid, name)

    return run


def by_ptwt(name: str) -> RoundTrip:
    """Convolutions, mode ``periodic``, which keeps more coefficients than pixels after longer filters."""

    def run(x: Tensor) -> tuple[list[Tensor], Tensor]:
        found = ptwt.wavedec2(x, name, level=LEVEL, mode="periodic")
        return [found[0], *(band for high in found[1:] for band in high)], ptwt.waverec2(found, name)

    return run


def by_matrices_of_ptwt(name: str) -> RoundTrip:
    """Sparse orthogonal matrices, with other filters at the edges; LH and HL are exchanged."""
    there, back = ptwt.MatrixWavedec2(name, level=LEVEL), ptwt.MatrixWaverec2(name)

    def run(x: Tensor) -> tuple[list[Tensor], Tensor]:
        found = there(x)
        return [found[0], *(band for lh, hl, hh in found[1:] for band in (hl, lh, hh))], back(found)

    return run


def by_pytorch_wavelets(name: str) -> RoundTrip:
    """Convolutions along one axis after the other, mode ``periodization``, the same transform."""
    there = DWTForward(J=LEVEL, wave=name, mode="periodization")
    back = DWTInverse(wave=name, mode="periodization")

    def run(x: Tensor) -> tuple[list[Tensor], Tensor]:
        ll, details = there(x)
        return [ll, *(band for high in reversed(details) for band in high.unbind(2))], back((ll, details))

    return run


RIVALS = {"ptwt": by_ptwt, "ptwt, matrices": by_matrices_of_ptwt, "pytorch_wavelets": by_pytorch_wavelets}


def check(title: str, run: RoundTrip, x: Tensor, same: RoundTrip | None) -> None:
    """Images come back, so that gradients do; and coefficients are those of the same transform, if any is."""
    coefficients, back = run(x)
    pairs = [(back, x), (gradient(run, x, x), x)]
    if same:
        pairs += zip(coefficients, same(x)[0], strict=True)
    error = max(float((a - b).abs().max()) for a, b in pairs)
    if not error <= 2e-5:
        raise SystemExit(f"{title}: {error} off: nothing was timed")


def gradient(run: RoundTrip, x: Tensor, outer: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(run(x)[1], x, outer)[0]


def transforms(rounds: int) -> dict[str, Summary]:
    """Time of ours over that of each rival, per wavelet, there and back, without and with gradients."""
    found = {}
    cases = [(name, SHAPE, 1.0) for name in NAMES] + [(name, LARGE_SHAPE, None) for name in LARGE]
    for name, shape, bar in cases:
        x, mine = torch.randn(shape, generator=torch.Generator().manual_seed(0)), ours(name)
        for rival, build in RIVALS.items():
            theirs = build(name)
            same = rival == "pytorch_wavelets" or name == "haar"
            check(f"fans, {name}", mine, x, None)
            check(f"{rival}, {name}", theirs, x, mine if same else None)
            for kind, timed in {"forward": forward, "with gradients": with_gradients}.items():
                title = f"{name} {shape[-1]} x {shape[-1]}, {kind} / {rival}"
                found[title] = compared(
                    title, partial(timed, mine, x), partial(timed, theirs, x), rounds, bar
                )
    return found


def forward(run: RoundTrip, x: Tensor) -> None:
    with torch.no_grad():
        for _ in range(CALLS):
            run(x)


def with_gradients(run: RoundTrip, x: Tensor) -> None:
    for _ in range(CALLS):
        gradient(run, x, x)


# Training


def training(rounds: int) -> dict[str, Summary]:
    """Time of a training step of a network over that of the plain U-Net; the plain one is the control."""
    sizes, found = UNetConfig(), {}
    gated = WaveletUNetConfig(**asdict(sizes))
    for size in (16, 32):
        for name, network in {"plain": UNet(sizes, seed=1), "Haar gates": WaveletUNet(gated)}.items():
            plain = UNet(sizes)
            parameters = [sum(p.numel() for p in one.parameters()) for one in (network, plain)]
            if abs(parameters[0] / parameters[1] - 1) > 0.02:
                raise SystemExit(f"{parameters} parameters are not equal: nothing was timed")
            title = f"training step with {name} / plain, {size} x {size}"
            found[title] = compared(title, step(network, size), step(plain, size), rounds, 1.15)
    return found


def step(network: nn.Module, size: int) -> Run:
    """One update on a batch of 32, after a check that training lowers the loss."""
    x = torch.randn(64, 1, size // 4, size // 4, generator=torch.Generator().manual_seed(0))
    x, white = F.interpolate(x, scale_factor=4.0) / 2, diffusion.white(size=(size, size))
    trainer = Trainer(network, x, white, TrainingConfig(10**6, batch=32, log_every=10))
    losses = [record["loss"] for record in trainer.run(until=20)]
    if not losses[1] < losses[0]:
        raise SystemExit(f"losses {losses} do not fall: nothing was timed")
    return lambda: trainer.run(until=trainer.step + 1)


# Comparing


def compared(title: str, mine: Run, theirs: Run, rounds: int, bar: float | None) -> Summary:
    """Print and return quartiles; a median more than two standard errors above the bar misses it."""
    ratios = []
    for i in range(rounds + 2):
        order = (mine, theirs) if i % 2 else (theirs, mine)
        spent = {run: seconds(run) for run in order}
        if i >= 2:  # the first rounds warm up
            ratios.append(spent[mine] / spent[theirs])
    lower, median, upper = quantiles(ratios, n=4)
    error = 0.93 * (upper - lower) / rounds**0.5  # of the median, if ratios scatter normally
    row = {"median": median, "error": error, "lower": lower, "upper": upper, "bar": bar}
    missed = bar is not None and median - 2 * error > bar
    line = "{median:.3f} ± {error:.3f} [{lower:.3f}, {upper:.3f}], bar {bar}".format(**row)
    print(f"{title:54}{line}{'  MISSED' if missed else ''}", flush=True)
    return {key: value and round(value, 4) for key, value in row.items()} | {"missed": missed}


def seconds(run: Run) -> float:
    start = process_time()
    run()
    return process_time() - start


def main() -> None:
    """Run all comparisons, print tables and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=61)
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = [round(os.getloadavg()[0], 1)]
    found = transforms(options.rounds) | training(options.rounds)
    load.append(round(os.getloadavg()[0], 1))
    packages = ("torch", "ptwt", "pytorch_wavelets", "pywavelets")
    made_with = {"python": platform.python_version()} | {name: version(name) for name in packages}
    if options.out:
        options.out.write_text(
            json.dumps({"threads": 1, "load": load, "made with": made_with, "ratios": found}, indent=1) + "\n"
        )
    if any(row["missed"] for row in found.values()):
        sys.exit("a bar was missed")


if __name__ == "__main__":
    main()
