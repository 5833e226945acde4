"""The benchmark suite's own bookkeeping; what it measures is no test's business."""

from __future__ import annotations

import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

from benchmarks import counts, history
from benchmarks.rows import Figures, Result, Row, _no_preparation, rows


def _row(name: str, ours: float, theirs: float, target: float | None = None) -> history.Record:
    figures = {"ours": ours, "theirs": theirs, "unit": "s", "target": target, "limit": None}
    return {"topic": "calls", "name": name, **figures}


def test_each_row_has_a_title_of_its_own() -> None:
    titles = [f"{row.topic}: {row.name}" for row in rows()]
    assert len(titles) > 30
    assert len(set(titles)) == len(titles)


def test_a_row_is_selected_by_topic_or_name() -> None:
    assert {row.topic for row in rows("KERNELS: ")} == {"kernels"}
    assert rows("no row is called like this") == []


@pytest.mark.parametrize(("ours", "target", "limit", "reached"), [
    (1.0, 2.0, None, True),
    (1.1, 2.0, None, False),
    (1.0, 2.0, 0.5, False),
    (1.0, None, 1.5, True),
    (1.0, None, None, None),
])  # fmt: skip
def test_targets_and_limits(ours: float, target: float | None, limit: float | None, reached: bool | None) -> None:
    row = Row("calls", "one", target, _no_preparation, limit=limit)
    assert Result(row, ours, 2.0).reached is reached


def test_a_run_is_recorded_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert history.read(path) == []
    history.record([_row("add", 2.0, 6.00004, 2.5)], path)
    history.record([_row("add", 1.0, 6.0), _row("echo", 1.0, 1.0)], path)
    first, second = history.read(path)
    assert first["rows"] == {"calls: add": {"ours": 2.0, "theirs": 6.0, "unit": "s", "target": 2.5, "limit": None}}
    assert history.ratios(second) == {"calls: add": 6.0, "calls: echo": 1.0}
    assert {"date", "commit", "python", "wasmtime"} <= first.keys()


def test_changes_leave_out_noise_and_new_rows(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history.record([_row("add", 1.0, 10.0), _row("echo", 1.0, 4.0), _row("trap", 1.0, 8.0)], path)
    history.record(
        [_row("add", 1.0, 10.5), _row("echo", 1.0, 6.0), _row("trap", 1.0, 2.0), _row("new", 1.0, 1.0)], path
    )
    assert history.changes(*history.read(path)) == [("calls: trap", 8.0, 2.0), ("calls: echo", 4.0, 6.0)]


def test_the_chart_is_an_svg_with_each_row(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    history.record([_row("add", 1.0, 10.0, 5.0), _row("slow", 2.0, 1.0)], tmp_path / "history.jsonl")
    history.chart(history.read(tmp_path / "history.jsonl")[0], tmp_path / "figures.svg")
    texts = [element.text for element in xml.parse(tmp_path / "figures.svg").iter() if element.tag.endswith("text")]
    assert {"calls: add", "calls: slow"} <= set(texts)


def test_a_page_gets_the_table_between_its_marks(tmp_path: Path) -> None:
    history.record([_row("add", 2e-6, 6e-6, 2.5), _row("slow", 2.0, 1.0, 1.0)], tmp_path / "history.jsonl")
    (entry,) = history.read(tmp_path / "history.jsonl")
    page = "above\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nbelow\n"
    changed = history.tabulated(page, entry)
    assert "| calls: add | 2.00 µs | 6.00 µs | 3.00 | x2.5 |  |\n" in changed
    assert "| calls: slow | 2.00 s | 1.00 s | 0.50 | x1 | short |\n" in changed
    assert changed.startswith("above\n") and changed.endswith("below\n") and "old" not in changed
    assert history.tabulated(changed, entry) == changed
    with pytest.raises(ValueError, match="no marks"):
        history.tabulated("a page\n", entry)


@pytest.mark.skipif(not history.HISTORY.exists(), reason="no run is recorded")
def test_the_documented_figures_are_the_last_recorded_run() -> None:
    page = history.DOCUMENT.read_text()
    assert history.tabulated(page, history.read()[-1]) == page, "python -m benchmarks.history --docs"


def test_instruction_counts_are_read_from_either_form_of_total(tmp_path: Path) -> None:
    part = tmp_path / "counts.2"
    part.write_text("events: Ir\nfn=(1) main\n12 34\n\ntotals: 4711\n")
    assert counts._totals(part) == 4711
    part.write_text("events: Ir\n")
    with pytest.raises(RuntimeError, match="no totals"):
        counts._totals(part)


def test_figures_have_a_ratio() -> None:
    figures = Figures(2.0, 6.0)
    assert Result(Row("calls", "one", None, _no_preparation), figures.ours, figures.theirs).ratio == 3.0
