"""What the documentation names exists: files, links, commands' modules, public names in code."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from tests.imports import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
TOP = ("core_rt", "component_rt", "wit", "tests", "docs", "examples", "benchmarks")

# `path/to/file.py`, or a folder with a trailing slash; `file.md` without a folder is a link's business
_TOP = "|".join(TOP)
_PATH = re.compile(rf"`((?:{_TOP})/[\w./-]*)`")
_LINK = re.compile(r"\]\(([^)#]+?)(?:#[\w-]*)?\)")
_MODULE = re.compile(rf"python3? -m ((?:{_TOP})[\w.]*)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_paths_exist(page):
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    missing = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    missing += [
        link for link in _LINK.findall(text) if "://" not in link and not (page.parent / link).resolve().exists()
    ]
    assert not missing, f"{_name(page)} names what is not there: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_exist(page):
    missing = [name for name in _MODULE.findall(page.read_text()) if importlib.util.find_spec(name) is None]
    assert not missing, f"{_name(page)} runs what is not there: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_python_examples_use_names_that_exist(page):
    """Attributes of the packages in fenced Python code; the code itself is not run."""
    for language, code in _FENCE.findall(page.read_text(encoding="utf-8")):
        if language != "python":
            continue
        tree = ast.parse(code)
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                module = importlib.import_module(modules[node.value.id])
                assert hasattr(module, node.attr), f"{_name(page)}: {modules[node.value.id]}.{node.attr}"


def test_index_lists_every_page():
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= set(_LINK.findall(index))


def test_readme_has_the_two_commands():
    """`.ci/run` takes the tests' command from the README."""
    text = (ROOT / "README.md").read_text()
    for name in ("example", "tests"):
        block = re.search(rf"<!-- command: {name} -->\n```bash\n(.+)\n```\n", text)
        assert block is not None
        assert block[1].count("\n") == 0
        assert "pip install" in block[1]


def test_no_paths_of_one_machine():
    """Nothing in the repository knows where it was written."""
    pattern = re.compile(r"(?<![\w.$}])/(?:work|root|home)/\w")
    suffixes = {".py", ".md", ".c", ".h", ".toml", ".wat", ".wit"}
    folders = [ROOT / name for name in TOP]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in suffixes]
    wrong = [_name(path) for path in files if path != Path(__file__) and pattern.search(path.read_text("utf-8"))]
    assert not wrong
