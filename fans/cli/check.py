"""``fans check``: are results those of the present configuration, code and data?"""

from argparse import Namespace
from typing import Any

from fans.cli.common import STALE, add_folder, told


def add(commands: Any) -> None:
    """Add the command to those of the parser."""
    command = commands.add_parser("check", help="are results those of today's configuration, code and data?")
    command.add_argument(
        "names", nargs="*", metavar="NAME", help="experiment; all in the folder unless given"
    )
    add_folder(command)
    command.set_defaults(command=run)


def run(options: Namespace) -> int:
    """Check the results that are named, or all."""
    from fans import experiments

    folder = experiments.home(options.folder)
    names = options.names or sorted(path.parent.name for path in folder.glob("[!.]*/manifest.json"))
    if not names:
        return told(f"no results in {folder}: run `fans reproduce NAME`, or give --folder", STALE)
    code = 0
    for name in names:
        try:
            manifest = experiments.check(name, folder=folder).manifest
        except experiments.StaleError as error:
            code = told(error, STALE)
        else:
            print(f"{name}: up to date (scale {manifest['scale']}, commit {manifest['commit']})", flush=True)
    return code
