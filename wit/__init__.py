"""WIT, the interface definition language of the WebAssembly component model: parse, resolve, print, encode, bind.

    >>> import wit
    >>> document = wit.parse('''
    ...     package local:demo;
    ...     interface log { write: func(line: string) -> u32; }
    ...     world app { import log; export run: func(); }
    ... ''')
    >>> [str(name) for name in document.world().imports]
    ['local:demo/log']
    >>> wit.parse(wit.to_text(document)) == document
    True
    >>> wit.decode(wit.encode(document)) == document.root
    True

What it all means is in WIT.md of the component model; the model's classes are in `wit.model`. Names are imported when
first used: a runtime that only wants to know what an identifier looks like loads no parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from wit.encoder import encode as encode
    from wit.errors import Source as Source
    from wit.errors import Span as Span
    from wit.errors import WitError as WitError
    from wit.gates import Options as Options
    from wit.loader import load as load
    from wit.model import Package as Package
    from wit.model import Resolve as Resolve
    from wit.printer import to_text as to_text

__all__ = [
    "Options",
    "Package",
    "Resolve",
    "Source",
    "Span",
    "WitError",
    "decode",
    "decode_document",
    "encode",
    "load",
    "parse",
    "to_text",
]

_HOME = {
    "Options": "wit.gates",
    "Package": "wit.model",
    "Resolve": "wit.model",
    "Source": "wit.errors",
    "Span": "wit.errors",
    "WitError": "wit.errors",
    "encode": "wit.encoder",
    "load": "wit.loader",
    "to_text": "wit.printer",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})


def parse(source: str | os.PathLike[str], options: Options | None = None) -> Resolve:
    """Parse and resolve a WIT document: from its text, or from the file or directory it is in.

    A path-like is a path, and so is a `str` with neither a line break nor `;` nor `{`, without which there is no text. A
    text must hold all it refers to, dependencies as `package … { }` blocks; a directory is read as `load` does.
    Raises `WitError`, whose text shows the place.
    """
    from wit.loader import load, load_text

    if isinstance(source, str) and (not source.strip() or not {"\n", ";", "{"}.isdisjoint(source)):
        return load_text(source, options=options)
    return load(source, options=options)


def decode(data: bytes | bytearray | memoryview) -> Package:
    """The package that a component binary made by `encode` (or by wasm-tools) holds.

    Raises `WitError` if the bytes are no such binary.
    """
    return decode_document(data).root


def decode_document(data: bytes | bytearray | memoryview) -> Resolve:
    """Like `decode`, together with what the binary says of the packages that the package refers to."""
    from wit.decoder import decode_package

    return decode_package(bytes(data))
