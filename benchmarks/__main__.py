"""`python -m benchmarks [--only TEXT] [--json] [--must] [--record]`: a table of ratios against wasmtime-py."""

from __future__ import annotations

import argparse
import json
import sys

from .history import figure, machine, record
from .rows import Missing, Result, means, rows


def _line(result: Result) -> str:
    row = result.row
    wanted = f"x{row.target:g}" if row.target is not None else ""
    if row.limit is not None:
        wanted += f" <{figure(row.limit, row.unit)}"
    mark = {True: "ok", False: "SHORT", None: ""}[result.reached]
    ours, theirs = figure(result.ours, row.unit), figure(result.theirs, row.unit)
    return f"{row.topic + ': ' + row.name:68.68s} {ours:>11s} {theirs:>11s} {result.ratio:>9.2f} {wanted:>10s} {mark}"


def _record(result: Result) -> dict[str, object]:
    row = result.row
    return {
        "topic": row.topic,
        "name": row.name,
        "unit": row.unit,
        "ours": result.ours,
        "theirs": result.theirs,
        "ratio": result.ratio,
        "target": row.target,
        "limit": row.limit,
        "reached": result.reached,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="rows in whose topic or name this occurs")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output instead of a table")
    parser.add_argument("--must", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--record", action="store_true", help="append the run to benchmarks/history.jsonl")
    options = parser.parse_args()
    table = not options.json
    if table:
        print(f"{'row':68s} {'ours':>11s} {'wasmtime-py':>11s} {'ratio':>9s} {'target':>10s}", flush=True)
    results: list[Result] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for row in rows(options.only):
        try:
            result = row.measure()
        except (Missing, ImportError) as error:
            skipped[f"{row.topic}: {row.name}"] = str(error)
            continue
        except Exception as error:  # one row must not take the others with it
            failed[f"{row.topic}: {row.name}"] = f"{type(error).__name__}: {error}"
            continue
        results.append(result)
        if table:
            print(_line(result), flush=True)
    derived = means(results)
    results += derived
    short = [result for result in results if result.reached is False]
    if options.record:
        record(list(map(_record, results)))
    if table:
        for result in derived:
            print(_line(result))
        for name, reason in skipped.items():
            print(f"skipped {name}: {reason}")
        for name, reason in failed.items():
            print(f"FAILED {name}: {reason}")
        judged = sum(result.reached is not None for result in results)
        print(f"{judged - len(short)} of {judged} rows at or over their target")
    else:
        found = {"rows": list(map(_record, results)), "skipped": skipped, "failed": failed}
        json.dump({**machine(), **found}, sys.stdout, indent=1)
        print()
    return int(bool(failed) or (options.must and bool(short)))


if __name__ == "__main__":
    sys.exit(main())
