"""Threads and processes that experiments run on, and files that only one of them may write."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from multiprocessing import get_context, parent_process
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor, nn

T = TypeVar("T")
PATIENCE = timedelta(days=30)  # that processes wait for the main one, which judges alone


@contextmanager
def one_thread(*, unless_cuda: bool = False) -> Iterator[None]:
    """Torch with one CPU thread, since results depend on their number by rounding; then as before.

    Args:
        unless_cuda: change nothing where there is a GPU, whose results differ by rounding anyway.
    """
    before = torch.get_num_threads()
    if not (unless_cuda and torch.cuda.is_available()):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def processes() -> Accelerator:
    """The processes of ``accelerate launch``, or this one alone."""
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    return Accelerator(mixed_precision="no", kwargs_handlers=[patience])


def on_main(accelerator: Accelerator, action: Callable[[], T]) -> T:
    """Do something in the main process; the others wait and get what it found."""
    found = [action() if accelerator.is_main_process else None]
    if accelerator.num_processes > 1:
        broadcast_object_list(found)
    result: T = found[0]  # type: ignore[assignment]
    return result


class Alone:
    """Stands in for an accelerator: one process on the CPU, whatever is plugged in or launched."""

    device, mixed_precision = torch.device("cpu"), "no"
    num_processes, process_index, is_main_process = 1, 0, True

    def prepare_model(self, network: nn.Module) -> nn.Module:
        """The network itself."""
        return network

    def reduce(self, value: Tensor, reduction: str = "sum") -> Tensor:
        """The value itself, sum and mean of one process."""
        return value

    def no_sync(self, network: nn.Module) -> Any:
        """A context that does nothing."""
        return nullcontext()

    def wait_for_everyone(self) -> None:
        """There is nobody else."""


def fresh_processes() -> BaseContext:
    """How to start workers: forked from a process that has imported the package and done nothing else.

    Elsewhere than on Linux, and with a GPU, which no fork may share, each imports the package itself.
    """
    if sys.platform != "linux" or torch.cuda.is_available():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["fans.experiments"])
    return context


def die_with_parent() -> None:
    """Let a worker end when its parent is killed: it would train on beside the workers of the next call."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file against other processes; it is free again when this one ends, however it ends.

    Raises:
        BlockingIOError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno, f"{path}: another process works on these results; wait, or give another folder"
            ) from error
        yield
