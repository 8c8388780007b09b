"""Signals that ask a training run to end: it saves at the next step, and says so with a code of its own.

Clusters send SIGTERM some time before they kill, terminals SIGHUP when they close. A run with a folder takes
either as a wish: it finishes its step, saves, and raises ``SystemExit(EXIT_CODE)``, so that a script can tell
a run to be started again (75) from one that is done (0) or failed (1).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again
SIGNALS = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Wish:
    """Whether a signal has come, and which.

    Attributes:
        signal: its name; empty if none has come.
    """

    def __init__(self) -> None:
        self.signal = ""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note a signal: this is its handler."""
        self.signal = signal.Signals(number).name


@contextmanager
def wishes(*, heard: bool) -> Iterator[Wish]:
    """Note SIGTERM and SIGHUP while this lasts; then the handlers are as before.

    A signal that is ignored stays so, as SIGHUP under ``nohup``. Only the main thread may have handlers; in
    any other nothing is noted.

    Args:
        heard: False notes nothing, and signals end the process as ever.

    >>> with wishes(heard=True) as wish:
    ...     signal.raise_signal(signal.SIGTERM)
    >>> wish.signal
    'SIGTERM'
    """
    wish, before = Wish(), {}
    if heard and threading.current_thread() is threading.main_thread():
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, wish)
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
