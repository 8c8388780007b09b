"""Speed of wavelet transforms beside ptwt and pytorch_wavelets, and of the wavelet-gated U-Net.

    PYTHONPATH=tests python benchmarks/wavelet.py [--rounds 61] [--out benchmarks/wavelet.json]

Transform and inverse of (32, 3, 64, 64) over 3 levels, and a training step beside that of the plain U-Net of
the same widths. Every candidate is checked before it is timed. Both then take turns in one process with one
thread: what counts is the ratio of their CPU times within a round, median and quartiles. Packages that are
missing are left out. Always there are strided convolutions and their transposes, with four two-dimensional
filters, as ptwt has it, and along one axis after the other, as pytorch_wavelets has it.
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import quantiles
from time import process_time

import torch
from test_wavelet import daubechies
from torch import Tensor, nn
from torch.nn import functional as F

from fans import process
from fans.nets import UNet, UNetConfig, WaveletUNet, WaveletUNetConfig
from fans.nets.dwt import Wavelet, filters, wavedec2, waverec2
from fans.training import Trainer, TrainingConfig

Run = Callable[[], object]
Summary = dict[str, float]
SHAPE, LEVEL, CALLS = (32, 3, 64, 64), 3, 5
NAMES = {"haar": 1, "db2": 2, "db4": 4, "db8": 8}
# A transform and its inverse: coefficients in the order of PyWavelets, coarse to fine, and images again.
RoundTrip = Callable[[Tensor], tuple[list[Tensor], Tensor]]


# Transforms


def ours(wavelet: Wavelet, x: Tensor) -> tuple[list[Tensor], Tensor]:
    pyramid = wavedec2(x, wavelet, level=LEVEL)
    return [pyramid.ll, *(band for high in pyramid.details for band in high)], waverec2(pyramid, wavelet)


def convolutions(wavelet: Wavelet, *, separable: bool) -> RoundTrip:
    """Strided convolutions on images padded around the torus, and their transposes, cropped."""
    taps = torch.tensor(filters(wavelet)).flip(1)
    length = taps.shape[1]
    passes = [taps.view(2, 1, 1, length), taps.view(2, 1, length, 1)]
    if not separable:
        passes = [torch.einsum("wi,hj->whji", taps, taps).reshape(4, 1, length, length)]

    def padded(x: Tensor, margins: list[int]) -> Tensor:
        return F.pad(x, [margins[1]] * 2 + [margins[0]] * 2, mode="circular") if any(margins) else x

    def there(x: Tensor) -> Tensor:
        y = x.reshape(-1, 1, *x.shape[-2:])
        for kernels in passes:
            stride = [2 if n > 1 else 1 for n in kernels.shape[2:]]
            y = F.conv2d(padded(y, [max(0, n // 2 - 1) for n in kernels.shape[2:]]), kernels, stride=stride)
            y = y.flatten(0, 1)[:, None]
        return y.view(*x.shape[:-2], 4, *y.shape[-2:])

    def back(bands: Tensor) -> Tensor:
        y = bands.flatten(0, -3)
        for kernels in reversed(passes):
            y = y.view(-1, len(kernels), *y.shape[-2:])
            stride = [2 if n > 1 else 1 for n in kernels.shape[2:]]
            margins = [n // 4 for n in kernels.shape[2:]]
            h, w = (n * s for n, s in zip(y.shape[-2:], stride, strict=True))
            y = F.conv_transpose2d(padded(y, margins), kernels, stride=stride)
            top, left = (max(0, n // 2 - 1) + 2 * (n // 4) for n in kernels.shape[2:])
            y = y[..., top : top + h, left : left + w]
        return y.reshape(*bands.shape[:-3], *y.shape[-2:])

    def run(x: Tensor) -> tuple[list[Tensor], Tensor]:
        levels = []
        for _ in range(LEVEL):
            levels.insert(0, there(x))
            x = levels[0][..., 0, :, :]
        found = [x, *(band for bands in levels for band in bands.unbind(-3)[1:])]
        for bands in levels:
            x = back(torch.cat((x.unsqueeze(-3), bands[..., 1:, :, :]), -3))
        return found, x

    return run


def by_ptwt(name: str) -> RoundTrip:
    """Its mode ``periodic``, which keeps more coefficients than pixels if filters are longer than Haar's."""
    ptwt = importlib.import_module("ptwt")

    def run(x: Tensor) -> tuple[list[Tensor], Tensor]:
        found = ptwt.wavedec2(x, name, level=LEVEL, mode="periodic")
        return [found[0], *(band for high in found[1:] for band in high)], ptwt.waverec2(found, name)

    return run


def by_pytorch_wavelets(name: str) -> RoundTrip:
    """Its mode ``periodization``, the same transform."""
    package = importlib.import_module("pytorch_wavelets")
    there = package.DWTForward(J=LEVEL, wave=name, mode="periodization")
    back = package.DWTInverse(wave=name, mode="periodization")

    def run(x: Tensor) -> tuple[list[Tensor], Tensor]:
        ll, details = there(x)
        return [ll, *(band for high in reversed(details) for band in high.unbind(2))], back((ll, details))

    return run


def competitors(name: str, wavelet: Wavelet) -> dict[str, RoundTrip]:
    found = {
        "convolutions in 2-D": convolutions(wavelet, separable=False),
        "convolutions by axis": convolutions(wavelet, separable=True),
    }
    for package, build in (("ptwt", by_ptwt), ("pytorch_wavelets", by_pytorch_wavelets)):
        if importlib.util.find_spec(package):
            found[package] = build(name)
    return found


def check(title: str, run: RoundTrip, x: Tensor, wavelet: Wavelet, *, same: bool) -> None:
    """Images come back; and the coefficients are ours, if it is the same transform."""
    coefficients, back = run(x)
    error = float((back - x).abs().max())
    if same:
        pairs = zip(coefficients, ours(wavelet, x)[0], strict=True)
        error = max(error, *(float((a - b).abs().max()) for a, b in pairs))
    if error > 2e-5:
        raise SystemExit(f"{title}: {error} off: nothing was timed")


def transforms(rounds: int) -> dict[str, Summary]:
    """Time of ours over that of each competitor, per wavelet."""
    x, found = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)), {}
    for name, moments in NAMES.items():
        wavelet: Wavelet = name if importlib.util.find_spec("pywt") else daubechies(moments)
        mine: RoundTrip = partial(ours, wavelet)
        check("fans", mine, x, wavelet, same=True)
        for rival, run in competitors(name, wavelet).items():
            check(f"{rival}, {name}", run, x, wavelet, same=rival != "ptwt" or name == "haar")
            title = f"{name}, DWT and inverse / {rival}"
            found[title] = compared(title, repeated(mine, x), repeated(run, x), rounds, 1.0)
    return found


def repeated(run: RoundTrip, x: Tensor) -> Run:
    def several() -> None:
        with torch.no_grad():
            for _ in range(CALLS):
                run(x)

    return several


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
    x, white = F.interpolate(x, scale_factor=4.0) / 2, process.white(size=(size, size))
    trainer = Trainer(network, x, white, TrainingConfig(10**6, batch=32, log_every=10))
    losses = [record["loss"] for record in trainer.run(until=20)]
    if not losses[1] < losses[0]:
        raise SystemExit(f"losses {losses} do not fall: nothing was timed")
    return lambda: trainer.run(until=trainer.step + 1)


# Comparing


def compared(title: str, mine: Run, theirs: Run, rounds: int, bar: float) -> Summary:
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
    missed = median - 2 * error > bar
    line = "{median:.3f} ± {error:.3f} [{lower:.3f}, {upper:.3f}], bar {bar}".format(**row)
    print(f"{title:52}{line}{'  MISSED' if missed else ''}", flush=True)
    return {key: round(value, 4) for key, value in row.items()} | {"missed": missed}


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
    found = transforms(options.rounds) | training(options.rounds)
    made_with = {"python": platform.python_version(), "torch": torch.__version__, "load": os.getloadavg()[0]}
    if options.out:
        options.out.write_text(
            json.dumps({"threads": 1, "made with": made_with, "ratios": found}, indent=1) + "\n"
        )
    if any(row["missed"] for row in found.values()):
        sys.exit("a bar was missed")


if __name__ == "__main__":
    main()
