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

What it all means is in WIT.md of the component model; the model's classes are in `wit.model`.
"""

from __future__ import annotations

import os

from wit.decode import decode_package
from wit.encode import encode
from wit.errors import Source, Span, WitError
from wit.gates import Options
from wit.loader import load, load_text
from wit.model import Package, Resolve
from wit.printer import to_text

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


def parse(source: str | os.PathLike[str], options: Options | None = None) -> Resolve:
    """Parse and resolve a WIT document: from its text, or from the file or directory it is in.

    A path-like is a path, and so is a `str` with neither a line break nor `;` nor `{`, without which there is no text. A
    text must hold all it refers to, dependencies as `package … { }` blocks; a directory is read as `load` does.
    Raises `WitError`, whose text shows the place.
    """
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
    return decode_package(bytes(data))
