"""The command line, `component-rt`: run, serve, compile, validate, inspect, wit, bindgen.

Needs the extra `cli` (click and rich). `main` is the console script.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def _fill_standard_descriptors() -> None:
    """Open what is missing of 0, 1 and 2, so that no file of ours takes the number and a guest writes into it."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def main() -> None:
    """Run the command line and exit with its code."""
    _fill_standard_descriptors()
    try:
        from component_rt.cli.commands import cli
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        print(f"component-rt needs {error.name}: pip install 'component-rt[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    cli(prog_name="component-rt")
