"""Processes that are killed again and again, without the cost of starting Python each time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Imports a module once, and forks for every line it reads: the argument of a function of that module.
SERVER = """
import os, sys
sys.path[:0] = sys.argv[3:]
function = getattr(__import__(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        function(line.strip())
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@contextmanager
def victims(module: str, function: str) -> Iterator[Callable[[Path, Callable[[], None]], bool]]:
    """Call a function of a module in a process of its own, with a folder, and kill it when a wait is over.

    Yields:
        ``kill(folder, wait)``: whether the victim was killed; if not, it had finished.
    """
    support = Path(__file__).parent
    command = [sys.executable, "-c", SERVER, module, function, str(support), str(support.parent / "unit")]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD}
    )
    assert server.stdin and server.stdout
    told, say = server.stdout, server.stdin

    def kill(folder: Path, wait: Callable[[], None]) -> bool:
        say.write(f"{folder}\n")
        say.flush()
        pid = int(told.readline())
        wait()
        with suppress(ProcessLookupError):  # it had finished
            os.kill(pid, signal.SIGKILL)
        code = int(told.readline())
        assert code in (0, -signal.SIGKILL)
        return code != 0

    try:
        while told.readline() != "ready\n":
            assert server.poll() is None
        yield kill
    finally:
        say.close()
        server.wait()
        told.close()


def until(condition: Callable[[], bool], *, then: float = 0.0, limit: float = 60.0) -> None:
    """Wait for a condition, and then some seconds more."""
    deadline = time.monotonic() + limit
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.0005)
    time.sleep(then)
