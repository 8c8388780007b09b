"""Before a build: drop what earlier builds kept, where it may no longer be true.

The execution cache of Jupyter Book knows a notebook by its code alone, so it would keep showing the
numbers of an older package, lock or results folder. The parsed pages do not repeat their warnings, so a
build that failed once would pass when run again.
"""

import hashlib
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path


def inputs(root: Path) -> Iterable[Path]:
    yield root / "constraints.txt"
    yield from (root / "book/ext").rglob("*.py")
    yield from (root / "fans").rglob("*.py")
    yield from (root / "fans").rglob("*.toml")
    yield from (path for path in (root / "results").rglob("*") if path.is_file())


def fingerprint(root: Path) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(inputs(root)):
        digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def prepare(build: Path, now: str) -> None:
    """Leave in `build` what may be used again: notebooks of the same inputs, pages of a whole build."""
    mark, complete = build / "inputs.sha256", build / "complete"
    same = mark.exists() and mark.read_text() == now
    if not same:
        shutil.rmtree(build / ".jupyter_cache", ignore_errors=True)
    if not (same and complete.exists()):
        shutil.rmtree(build / ".doctrees", ignore_errors=True)
    shutil.rmtree(build / "html", ignore_errors=True)
    # Only a build that comes to its end makes this again; the inputs are noted once the old cache is gone.
    complete.unlink(missing_ok=True)
    build.mkdir(exist_ok=True)
    mark.write_text(now)


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    prepare(root / "_build", fingerprint(root))
