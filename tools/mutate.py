"""Change the package by one token at a time, and see whether a test notices.

    python tools/mutate.py --count 60                  # of the core rooms
    python tools/mutate.py fans/spectrum --count 20    # of one room

A mutant that no test kills is printed with its line: strengthen a test, or see that it changes nothing. Tests
run on a copy of the checkout, and of these only the files that name the room of the mutant, until one fails.
"""

import argparse
import ast
import copy
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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


def draw(paths: list[Path], rng: random.Random) -> Mutant:
    """A mutant of one of these files, every place as likely as any other."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    path, node = rng.choice([(path, node) for path, tree in trees.items() for node in places(tree)])
    new = ast.copy_location(changed(node), node)
    line = getattr(node, "lineno", 0)
    before, after = ast.unparse(node), ast.unparse(new)
    source = ast.unparse(ast.fix_missing_locations(_Replace(node, new).visit(trees[path])))
    return Mutant(path, line, before, after, source)


def tests_of(path: Path, tests: Path) -> list[str]:
    """Test files that name the room of a file: those called after it first, then the small ones."""
    room = path.with_suffix("").parts[1]
    named = re.compile(rf"\bfans\.{room}\b|from fans import [^\n]*\b{room}\b")
    files = [file for file in tests.glob("test_*.py") if named.search(file.read_text(encoding="utf-8"))]

    def order(file: Path) -> tuple[bool, bool, int]:
        return path.stem not in file.stem, room not in file.stem, file.stat().st_size

    return [str(file) for file in sorted(files, key=order)]


def killed(mutant: Mutant, copy_of: Path, timeout: float) -> bool:
    """Whether a test fails, or hangs, on a copy of the checkout with this mutant."""
    relative = mutant.path.relative_to(ROOT)
    target = copy_of / relative
    original = target.read_text(encoding="utf-8")
    target.write_text(mutant.source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    try:
        run = subprocess.run(
            [*command, *tests_of(relative, copy_of / "tests/unit")],
            cwd=copy_of,
            env={**os.environ, "PYTHONPATH": f"{copy_of}:{copy_of / 'book'}"},
            capture_output=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        target.write_text(original, encoding="utf-8")
    return run.returncode != 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "rooms", nargs="*", default=CORE, help="folders or files; the core rooms unless given"
    )
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=600, help="seconds until a hanging one is killed")
    options = parser.parse_args()
    rooms = [ROOT / room for room in options.rooms]
    paths = [file for room in rooms for file in ([room] if room.is_file() else sorted(room.rglob("*.py")))]
    rng, survivors = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "checkout"
        skip = shutil.ignore_patterns(".venv", "_build", ".git", "__pycache__", ".mypy_cache", ".hypothesis")
        shutil.copytree(ROOT, place, ignore=skip)
        for number in range(1, options.count + 1):
            mutant = draw(paths, rng)
            if not killed(mutant, place, options.timeout):
                survivors += 1
                where = f"{mutant.path.relative_to(ROOT)}:{mutant.line}"
                print(f"lives: {where}: {mutant.before} -> {mutant.after}", flush=True)
            print(f"{number} mutants, {survivors} live", file=sys.stderr, end="\r", flush=True)
    print(f"{options.count} mutants of {len(paths)} files, {survivors} live")


if __name__ == "__main__":
    main()
