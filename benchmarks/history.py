"""`python -m benchmarks.history`: what the last recorded run changed, and the chart of it.

`python -m benchmarks --record` appends a run to benchmarks/history.jsonl, one JSON document a line: when, which commit, on what,
and for each row both figures. Ratios can be compared between machines, times only on one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["HISTORY", "Record", "chart", "machine", "read", "record"]

Record = dict[str, Any]
HISTORY = Path(__file__).with_name("history.jsonl")
_CHART = Path(__file__).parents[1] / "docs" / "figures.svg"
_NOISE = 0.1  # a ratio that moved by less than this part is not worth a line


def machine() -> dict[str, object]:
    """What a run depends on."""
    return {
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "llvmlite": version("llvmlite"),
        "wasmtime": version("wasmtime"),
    }


def record(rows: list[Record], path: Path = HISTORY) -> None:
    """Appends a run."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=path.parent)
    entry = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit.stdout.strip(), **machine()}
    entry["rows"] = {
        f"{row['topic']}: {row['name']}": [_short(row["ours"]), _short(row["theirs"]), row["target"]] for row in rows
    }
    with path.open("a") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _short(figure: float) -> float:
    return float(f"{figure:.4g}")


def read(path: Path = HISTORY) -> list[Record]:
    """The recorded runs, oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def ratios(entry: Record) -> dict[str, float]:
    return {name: theirs / ours for name, (ours, theirs, _) in entry["rows"].items() if ours}


def changes(old: Record, new: Record) -> list[tuple[str, float, float]]:
    """Rows whose ratio moved by more than noise: name, before, after; largest move first."""
    before, after = ratios(old), ratios(new)
    moved = [(name, before[name], after[name]) for name in after if name in before]
    moved = [row for row in moved if abs(row[2] / row[1] - 1) > _NOISE]
    return sorted(moved, key=lambda row: -abs(math.log(row[2] / row[1])))


def chart(entry: Record, path: Path) -> None:
    """Draws the ratios of a run as bars on a logarithmic scale, targets as marks. Needs matplotlib."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "figures", "font.size": 8})
    from matplotlib import pyplot

    found = ratios(entry)
    names = list(reversed(found))
    targets = [(index, entry["rows"][name][2]) for index, name in enumerate(names) if entry["rows"][name][2]]
    figure, axes = pyplot.subplots(figsize=(9, 0.19 * len(names) + 0.8))
    axes.barh(names, [found[name] for name in names], color=["#3b7" if found[name] >= 1 else "#c95" for name in names])
    axes.scatter([x for _, x in targets], [y for y, _ in targets], marker="|", color="black", zorder=3, label="target")
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times as fast, or as small, as wasmtime-py (logarithmic)")
    axes.margins(y=0.01)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--chart", type=Path, nargs="?", const=_CHART, help=f"draw the last run ({_CHART.name})")
    options = parser.parse_args()
    runs = read()
    if not runs:
        print("nothing is recorded yet: python -m benchmarks --record", file=sys.stderr)
        return 1
    if options.chart:
        chart(runs[-1], options.chart)
        print(f"drew {options.chart}")
        return 0
    for run in runs:
        reached = [not target or theirs / ours >= target for ours, theirs, target in run["rows"].values() if ours]
        print(f"{run['date']} {run['commit']:9s} {len(reached):3d} rows, {reached.count(False)} under their target")
    if len(runs) > 1:
        for name, before, after in changes(runs[-2], runs[-1]):
            print(f"  {name:68.68s} {before:9.2f} -> {after:9.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
