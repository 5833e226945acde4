"""`python -m benchmarks.history [--docs]`: the recorded runs, and what the last of them changed.

`python -m benchmarks --record` appends a run to benchmarks/history.jsonl, one JSON document a line: when, which commit, on what,
and for each row both figures. Ratios can be compared between machines, times only on one. `--docs` puts the last run into
docs/performance.md, as a table, and draws docs/figures.svg.
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

__all__ = ["DOCUMENT", "HISTORY", "Record", "chart", "figure", "machine", "read", "record", "table", "tabulated"]

Record = dict[str, Any]
HISTORY = Path(__file__).with_name("history.jsonl")
DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
_CHART = DOCUMENT.with_name("figures.svg")
_BEGIN, _END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
_UNITS = ((1.0, "s "), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
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
        f"{row['topic']}: {row['name']}": {
            "ours": _short(row["ours"]),
            "theirs": _short(row["theirs"]),
            **{key: row[key] for key in ("unit", "target", "limit")},
        }
        for row in rows
    }
    with path.open("a") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _short(figure: float) -> float:
    return float(f"{figure:.4g}")


def read(path: Path = HISTORY) -> list[Record]:
    """The recorded runs, oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def ratios(entry: Record) -> dict[str, float]:
    return {name: row["theirs"] / row["ours"] for name, row in entry["rows"].items() if row["ours"]}


def figure(value: float, unit: str) -> str:
    """A figure with its unit, as tables have it; a ratio has none."""
    match unit:
        case "s":
            scale, name = next((pair for pair in _UNITS if value >= pair[0]), _UNITS[-1])
            return f"{value / scale:.2f} {name}"
        case "bytes":
            return f"{value / (1 << 20):.1f} MiB"
    return ""


def _reached(row: Record) -> bool:
    """Whether a recorded row has no target, or is at it."""
    ratio = row["theirs"] / row["ours"] if row["ours"] else math.inf
    return bool(ratio >= (row["target"] or 0.0) and row["ours"] <= (row["limit"] or math.inf))


def table(entry: Record) -> str:
    """A run as a table in Markdown, after a line that says what it ran on."""
    versions = f"{entry['machine']}, {entry['cores']} cores, CPython {entry['python']}, llvmlite {entry['llvmlite']}"
    lines = [f"{entry['date'][:10]}, commit {entry['commit']}, {versions}, wasmtime-py {entry['wasmtime']}:", ""]
    lines += ["| row | ours | wasmtime-py | ratio | target | |", "|---|---|---|---|---|---|"]
    for name, row in entry["rows"].items():
        both = (figure(row[side], row["unit"]).strip() for side in ("ours", "theirs"))
        ratio = row["theirs"] / row["ours"] if row["ours"] else math.inf
        wanted = [f"x{row['target']:g}"] if row["target"] is not None else []
        wanted += [f"<{figure(row['limit'], row['unit'])}".strip()] if row["limit"] is not None else []
        lines.append(
            f"| {' | '.join([name, *both])} | {ratio:.2f} | {' '.join(wanted)} | {'' if _reached(row) else 'short'} |"
        )
    return "\n".join(lines) + "\n"


def tabulated(document: str, entry: Record) -> str:
    """A page with the table between its marks replaced."""
    before, _, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError("the page has no marks for the table")
    return f"{before}{_BEGIN}{table(entry)}{_END}{after}"


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
    targets = [
        (index, entry["rows"][name]["target"]) for index, name in enumerate(names) if entry["rows"][name]["target"]
    ]
    figure, axes = pyplot.subplots(figsize=(9, 0.19 * len(names) + 0.8))
    colors = ["#3b7" if found[name] >= 1 else "#c95" for name in names]
    axes.barh(names, [found[name] - 1 for name in names], left=1, color=colors)
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
    parser.add_argument("--docs", action="store_true", help="put the last run into the documentation")
    options = parser.parse_args()
    runs = read()
    if not runs:
        print("nothing is recorded yet: python -m benchmarks --record", file=sys.stderr)
        return 1
    if options.docs:
        DOCUMENT.write_text(tabulated(DOCUMENT.read_text(), runs[-1]))
        chart(runs[-1], _CHART)
        return 0
    for run in runs:
        reached = [_reached(row) for row in run["rows"].values()]
        print(f"{run['date']} {run['commit']:9s} {len(reached):3d} rows, {reached.count(False)} short of their target")
    if len(runs) > 1:
        for name, before, after in changes(runs[-2], runs[-1]):
            print(f"  {name:68.68s} {before:9.2f} -> {after:9.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
