"""Each document of `cases` prints as its `.out`; each of `errors` is refused with the text of its `.out`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import wit
from tests.wit.cases import HERE, inputs, options

Golden = Callable[[Path, str], None]


@pytest.mark.parametrize("path", inputs("cases"), ids=lambda p: p.stem)
def test_prints_as(path: Path, golden: Golden) -> None:
    document = wit.load(path, options=options(path))
    golden(path.with_suffix(".out"), wit.to_text(document))


@pytest.mark.parametrize("path", inputs("cases"), ids=lambda p: p.stem)
def test_what_is_printed_parses_to_the_same(path: Path) -> None:
    document = wit.load(path, options=options(path))
    text = wit.to_text(document)
    again = wit.parse(text, options=wit.Options(all_features=True))
    assert again == document
    assert wit.to_text(again) == text


@pytest.mark.parametrize("path", inputs("errors"), ids=lambda p: p.stem)
def test_is_refused_with(path: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE / "errors")
    with pytest.raises(wit.WitError) as caught:
        wit.load(path.relative_to(HERE / "errors"), options=options(path))
    golden(path.with_suffix(".out"), f"{caught.value}\n")
