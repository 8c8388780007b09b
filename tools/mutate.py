"""Change the package by one token at a time, and see whether a test notices.

    python tools/mutate.py --count 60                  # of the core rooms
    python tools/mutate.py fans/spectrum --count 20    # of one room
    python tools/mutate.py fans/wavelets.py --files 1  # by the test file that knows it best

A mutant that no test kills is printed with its line: strengthen a test, or see that it changes nothing. Tests
run on a copy of the checkout, and of these only the files that name the room of the mutant, until one fails.
They first run on the code as it is: where they fail there, or take too long, they can tell nothing.
"""

import argparse
import ast
import copy
import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = (
    "fans/spectrum",
    "fans/diffusion",
    "fans/metrics",
    "fans/filters",
    "fans/wavelets.py",
    "fans/networks",
)
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


# What tests import before the package, imported once: each run starts as a copy of this process.
PRELOAD = [
    "torch",
    "numpy",
    "scipy.stats",
    "scipy.ndimage",
    "diffusers",
    "hypothesis",
    "pywt",
    "matplotlib.pyplot",
]
Outcome = Literal["lives", "killed", "too long"]


class Mutant(NamedTuple):
    """A file, the line that differs, and the whole changed source."""

    path: Path
    line: int
    before: str
    after: str
    source: str


def places(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that `changed` can change: operators, comparisons, numbers and signs."""
    for node in ast.walk(tree):
        number = isinstance(node, ast.Constant) and type(node.value) in (int, float, bool)
        operator = isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS
        comparison = isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS
        if number or operator or comparison or isinstance(node, ast.UnaryOp):
            yield node


def changed(node: ast.AST) -> ast.AST:
    """The node with one token changed."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.Constant) and isinstance(new.value, bool):
        new.value = not new.value
    elif isinstance(new, ast.Constant) and isinstance(new.value, int):
        new.value += 1
    elif isinstance(new, ast.Constant) and isinstance(new.value, float):
        new.value = new.value * 1.1 if new.value else 0.1
    elif isinstance(new, ast.BinOp | ast.BoolOp):
        new.op = SWAPS[type(new.op)]()
    elif isinstance(new, ast.Compare):
        new.ops[0] = SWAPS[type(new.ops[0])]()
    elif isinstance(new, ast.UnaryOp):
        return new.operand
    return new


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def mutants(paths: list[Path], count: int, rng: random.Random) -> Iterator[Mutant]:
    """Mutants of these files, each once, every place as likely as any other."""
    sources = {path: path.read_text(encoding="utf-8") for path in paths}
    every = [(path, k) for path, text in sources.items() for k, _ in enumerate(places(ast.parse(text)))]
    for path, k in rng.sample(every, min(count, len(every))):
        tree = ast.parse(sources[path])
        node = list(places(tree))[k]
        new = ast.copy_location(changed(node), node)
        before, after = ast.unparse(node), ast.unparse(new)
        source = ast.unparse(ast.fix_missing_locations(_Replace(node, new).visit(tree)))
        yield Mutant(path, getattr(node, "lineno", 0), before, after, source)


def tests_of(path: Path, tests: Path) -> list[str]:
    """Test files that name the room of a file: those first that name most of what it defines."""
    room = path.with_suffix("").parts[1]
    named = re.compile(rf"\bfans\.{room}\b|from fans import [^\n]*\b{room}\b")
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    defined = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    texts = {file: file.read_text(encoding="utf-8") for file in tests.glob("test_*.py")}

    def order(file: Path) -> tuple[bool, int, int]:
        known = sum(re.search(rf"\b{name}\b", texts[file]) is not None for name in defined)
        return path.stem not in file.stem, -known, len(texts[file])

    return [str(file) for file in sorted(filter(lambda file: named.search(texts[file]), texts), key=order)]


def _pytest(place: Path, tests: list[str]) -> None:
    """Run tests in a process of their own, silently."""
    os.chdir(place)
    os.environ["PYTHONPATH"] = f"{place}:{place / 'book'}"
    sys.path[:0] = [str(place), str(place / "book")]
    with open(os.devnull, "w") as silence:
        os.dup2(silence.fileno(), 1)
        os.dup2(silence.fileno(), 2)
    os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))


def outcome(place: Path, tests: list[str], timeout: float) -> Outcome:
    """What the tests say about the copy of the checkout as it lies there."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    run = context.Process(target=_pytest, args=(place, tests))
    run.start()
    run.join(timeout)
    if run.is_alive():
        run.kill()
        run.join()
        return "too long"
    return "killed" if run.exitcode else "lives"


def tried(mutant: Mutant, place: Path, tests: list[str], timeout: float) -> Outcome:
    """What the tests say about a copy of the checkout with this mutant."""
    target = place / mutant.path.relative_to(ROOT)
    original = target.read_text(encoding="utf-8")
    target.write_text(mutant.source, encoding="utf-8")
    try:
        return outcome(place, tests, timeout)
    finally:
        target.write_text(original, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "rooms", nargs="*", default=CORE, help="folders or files; the core rooms unless given"
    )
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=None, help="test files for each mutant, at most")
    parser.add_argument("--timeout", type=float, default=600, help="seconds of tests for one mutant")
    options = parser.parse_args()
    rooms = [ROOT / room for room in options.rooms]
    paths = [file for room in rooms for file in ([room] if room.is_file() else sorted(room.rglob("*.py")))]
    sound: dict[tuple[str, ...], Outcome] = {}
    count = {"lives": 0, "killed": 0, "too long": 0}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "checkout"
        skip = shutil.ignore_patterns(".venv", "_build", ".git", "__pycache__", ".mypy_cache", ".hypothesis")
        shutil.copytree(ROOT, place, ignore=skip)
        for mutant in mutants(paths, options.count, random.Random(options.seed)):
            relative = mutant.path.relative_to(ROOT)
            tests = tests_of(relative, place / "tests/unit")[: options.files]
            key = tuple(sorted(tests))
            if key not in sound:
                sound[key] = outcome(place, tests, options.timeout)
            if sound[key] != "lives":
                sys.exit(f"{relative}: without a change its tests are {sound[key]}: {' '.join(tests)}")
            start = time.monotonic()
            found = tried(mutant, place, tests, options.timeout)
            count[found] += 1
            print(
                f"{found:8} {relative}:{mutant.line}: {mutant.before} -> {mutant.after}"
                f" ({time.monotonic() - start:.0f} s)",
                flush=True,
            )
    print(f"{len(paths)} files: " + ", ".join(f"{number} {name}" for name, number in count.items()))


if __name__ == "__main__":
    main()
