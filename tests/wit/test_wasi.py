"""The WIT of WASI, every release there is: it resolves, prints, encodes and binds.

It is read from a mirror of the WASI repository beside this project, or of where the test guests lie; without either the
tests are skipped.
"""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

import wit
from tests.outside import WASI, guest
from tests.wit.test_binary import without_lost_docs
from wit.bindgen import generate

# tag, and the folders that hold a folder for each package
RELEASES = {
    "v0.2.0": "preview2/{}",
    "v0.2.12": "proposals/{}/wit",
    "v0.3.0": "proposals/{}/wit",
}
PACKAGES = ("io", "clocks", "random", "filesystem", "sockets", "cli", "http")


def git(*arguments: str) -> str:
    if not WASI.exists():
        pytest.skip("no clone of the WASI repository: set WASI_REPOSITORY")
    result = subprocess.run(["git", "-C", str(WASI), *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("the clone of the WASI repository lacks this release")
    return result.stdout


@cache
def release(tag: str) -> dict[PurePosixPath, str]:
    """The WIT files of a release, as `deps/package/file.wit`."""
    names = git("ls-tree", "-r", "--name-only", tag).splitlines()
    files = {}
    for package in PACKAGES:
        folder = PurePosixPath(RELEASES[tag].format(package))
        for name in map(PurePosixPath, names):
            if name.parent == folder and name.suffix == ".wit":
                files[PurePosixPath("deps") / package / name.name] = git("show", f"{tag}:{name}")
    return files


@pytest.fixture(params=RELEASES)
def document(request: pytest.FixtureRequest, tmp_path: Path) -> wit.Resolve:
    for name, text in release(request.param).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "root.wit").write_text("package test:root;\n", encoding="utf-8")
    return wit.load(tmp_path, options=wit.Options(all_features=True))


def test_it_resolves(document: wit.Resolve) -> None:
    assert len(document.packages) >= 7
    version = next(p.version for p in document.packages.values() if p.name == "cli")
    command = document.world(f"wasi:cli/command@{version}")
    assert f"wasi:cli/run@{version}" in command.exports
    assert f"wasi:filesystem/types@{version}" in command.imports
    types = document.interface(f"wasi:filesystem/types@{version}")
    assert "[method]descriptor.stat" in types.functions


def test_it_prints(document: wit.Resolve) -> None:
    assert wit.parse(wit.to_text(document), options=wit.Options(all_features=True)) == document


def test_it_encodes(document: wit.Resolve) -> None:
    for package in document.packages.values():
        if package is not document.root:
            assert wit.decode(wit.encode(package)) == without_lost_docs(package)


def test_it_binds(document: wit.Resolve) -> None:
    for package in document.packages.values():
        for world in package.worlds.values():
            assert compile(generate(world), f"{package.id}/{world.name}", "exec").co_names


@pytest.mark.parametrize("name", ["kitchen/wit", "asyncy/wit", "cabi/cabi.wit"])
def test_worlds_of_the_guests(name: str) -> None:
    document = wit.load(guest(name))
    assert wit.parse(wit.to_text(document)) == document
    assert wit.decode(wit.encode(document)) == document.root
    assert document.world().exports
