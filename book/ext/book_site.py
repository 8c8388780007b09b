"""What the site needs besides its pages: static explorers, notebook downloads, the record of the build."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PACKAGES = (
    "numpy scipy torch scikit-image scikit-learn galsim matplotlib ipywidgets jupyter-book sphinx myst-nb"
)


def _commit(folder: Path) -> str:
    git = ["git", "-C", str(folder)]
    try:
        name = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
    return f"{name}, with local changes" if changed else name


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class BuildRecord(SphinxDirective):
    """When, where and with what this site was built."""

    def run(self) -> list[nodes.Node]:
        record = {
            "Built": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "Commit": _commit(Path(self.env.srcdir)),
            "System": f"{platform.system()} {platform.machine()}",
            "Processor": f"{_processor()}, {_cores()} cores",
            "Python": platform.python_version(),
        } | {name: version(name) for name in PACKAGES.split()}
        fields = nodes.field_list()
        for name, value in record.items():
            fields += nodes.field(
                "", nodes.field_name("", name), nodes.field_body("", nodes.paragraph("", value))
            )
        self.env.note_reread()
        return [fields]


def offer_notebook(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Let the theme's download menu offer the executed notebook beside the text source."""
    paired = Path(app.srcdir, f"{pagename}.ipynb")
    if paired.is_file():
        target = Path(app.outdir, "_sources", f"{pagename}.ipynb")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(paired, target)
        context["ipynb_source"] = f"{pagename}.ipynb"


def setup(app: Sphinx) -> dict[str, Any]:
    # A page has no kernel: explorers draw their precomputed grid.
    os.environ.setdefault("FANS_STATIC", "1")
    app.add_directive("build-record", BuildRecord)
    app.connect("html-page-context", offer_notebook)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
