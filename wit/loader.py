"""WIT from the file system (WIT.md, "Filesystem structure").

A directory's `*.wit` files are one package; its `deps` folder holds dependencies, each a file or a folder of files,
without `deps` of their own. Names of files and folders mean nothing. A dependency may also be a component binary that
packages WIT (`*.wasm`): it is printed and read as text, so that all that follows knows one form only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from wit import ast
from wit.decoder import decode_package
from wit.errors import Source, WitError
from wit.model import Resolve
from wit.parser import parse_source
from wit.printer import to_text
from wit.resolve import Options, resolve

__all__ = ["load", "load_text"]

_MAX_FILE_SIZE = 64 << 20


def load_text(text: str, name: str = "<text>", options: Options | None = None) -> Resolve:
    """Resolve a document that holds all it needs: dependencies are `package … { }` blocks in it."""
    return resolve([parse_source(Source(name, text))], (), options)


def load(path: str | os.PathLike[str], *others: str | os.PathLike[str], options: Options | None = None) -> Resolve:
    """Resolve a package from a file or directory; `others` are further packages to find dependencies in.

    Raises `WitError` for what is wrong in the text, and if there is no WIT at `path`.
    """
    root, dependencies = _package_at(Path(path))
    for other in others:
        files, more = _package_at(Path(other))
        dependencies = [*dependencies, files, *more]
    return resolve(root, dependencies, options)


def _package_at(path: Path) -> tuple[list[ast.File], list[list[ast.File]]]:
    if not path.is_dir():
        return [_file(path)], []
    files = _folder(path)
    if not files:
        raise WitError(f"no `*.wit` files in `{path}`")
    deps = path / "deps"
    return files, list(_dependencies(deps)) if deps.is_dir() else []


def _dependencies(deps: Path) -> Iterable[list[ast.File]]:
    for entry in _entries(deps):
        if entry.is_dir():
            files = _folder(entry)
            if files:
                yield files
        elif entry.suffix in (".wit", ".wasm"):
            yield [_file(entry)]


def _folder(path: Path) -> list[ast.File]:
    return [_file(entry) for entry in _entries(path) if entry.suffix == ".wit" and not entry.is_dir()]


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir())
    except OSError as error:
        raise WitError(f"cannot read folder `{path}`: {error.strerror}") from None


def _file(path: Path) -> ast.File:
    try:
        if path.stat().st_size > _MAX_FILE_SIZE:
            raise WitError(f"`{path}` is too large for a WIT file")
        data = path.read_bytes()
        if path.suffix == ".wasm":
            text = to_text(decode_package(data).root, nested=False)
        else:
            text = data.decode()
    except OSError as error:
        raise WitError(f"cannot read `{path}`: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise WitError(f"`{path}` is not valid UTF-8 (at byte {error.start})") from None
    except ValueError as error:  # a path with a NUL
        raise WitError(f"cannot read {str(path)!r}: {error}") from None
    return parse_source(Source(str(path), text))
