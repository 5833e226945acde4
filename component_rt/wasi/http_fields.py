"""`wasi:http/types.fields`: headers and trailers; and the package's error codes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from component_rt.wasi._values import Case, Err, fail, variant
from component_rt.wasi.io import StreamFailure

__all__ = ["FORBIDDEN", "Fields", "HttpError", "content_length", "internal_error", "is_token"]

FORBIDDEN = frozenset(
    {
        "connection",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    }
)
"""Names that belong to the transport: a guest may neither set nor see them."""

is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_value = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch


class HttpError(StreamFailure):
    """An error of the transport with its `error-code`."""

    def __init__(self, code: Case) -> None:
        super().__init__(code.label if code.value is None else f"{code.label}: {code.value}")
        self.code = code


def internal_error(message: str | None) -> Case:
    """The error code for what fits nowhere else."""
    return variant("internal-error", message)


def _syntax() -> Err:
    return Err(variant("invalid-syntax"))


class Fields:
    """The resource `wasi:http/types.fields`: names and values in order. Names are compared without regard to case.

    One class for WASI 0.2 and 0.3, whose functions for the same things have different names in part.
    """

    __slots__ = ("__weakref__", "_entries", "_mutable")

    def __init__(self) -> None:
        self._entries: list[tuple[str, bytes]] = []
        self._mutable = True

    # -- for the host ------------------------------------------------------------------------------------------------

    @classmethod
    def received(cls, entries: Iterable[tuple[str, bytes]]) -> Fields:
        """Immutable fields that came over the wire, without those that belong to the transport."""
        self = cls()
        self._entries = [(name, value) for name, value in entries if name.lower() not in FORBIDDEN]
        self._mutable = False
        return self

    def freeze(self) -> Fields:
        """Make immutable what the guest has handed over."""
        self._mutable = False
        return self

    def view(self) -> Fields:
        """Another, immutable handle to the same entries."""
        other = Fields()
        other._entries = self._entries
        other._mutable = False
        return other

    @property
    def pairs(self) -> list[tuple[str, bytes]]:
        """The entries themselves."""
        return self._entries

    # -- for the guest -----------------------------------------------------------------------------------------------

    @staticmethod
    def _check(name: str, values: Sequence[bytes]) -> None:
        if not is_token(name) or not all(map(_is_value, values)):
            raise _syntax()
        if name.lower() in FORBIDDEN:
            fail(variant("forbidden"))

    def _change(self) -> None:
        if not self._mutable:
            fail(variant("immutable"))

    @staticmethod
    def from_list(entries: Sequence[tuple[str, bytes]]) -> Fields:
        """Fields with these entries. Raises `Err(header-error)`."""
        self = Fields()
        for name, value in entries:
            self._check(name, (value,))
            self._entries.append((name, bytes(value)))
        return self

    def get(self, name: str) -> list[bytes]:
        """All values of a name."""
        wanted = name.lower()
        return [value for key, value in self._entries if key.lower() == wanted]

    def has(self, name: str) -> bool:
        """Whether there is a value of that name."""
        wanted = name.lower()
        return any(key.lower() == wanted for key, _ in self._entries)

    def _without(self, name: str) -> list[tuple[str, bytes]]:
        wanted = name.lower()
        return [pair for pair in self._entries if pair[0].lower() != wanted]

    def set(self, name: str, value: Sequence[bytes]) -> None:
        """Replace all values of a name. Raises `Err(header-error)`."""
        self._change()
        self._check(name, value)
        self._entries = self._without(name) + [(name, bytes(one)) for one in value]

    def delete(self, name: str) -> None:
        """Remove all values of a name. Raises `Err(header-error)`."""
        self._change()
        self._check(name, ())
        self._entries = self._without(name)

    def get_and_delete(self, name: str) -> list[bytes]:
        """Remove all values of a name; these values. Raises `Err(header-error)`."""
        found = self.get(name)
        self.delete(name)
        return found

    def append(self, name: str, value: bytes) -> None:
        """Add a value. Raises `Err(header-error)`."""
        self._change()
        self._check(name, (value,))
        self._entries.append((name, bytes(value)))

    def entries(self) -> list[tuple[str, bytes]]:
        """All names and values in order."""
        return list(self._entries)

    copy_all = entries

    def clone(self) -> Fields:
        """A mutable copy."""
        other = Fields()
        other._entries = list(self._entries)
        return other


def content_length(fields: Fields) -> int | None:
    """The Content-Length, if there is a sensible one."""
    values: list[Any] = fields.get("content-length")
    text = values[0].strip() if values else b""
    return int(text) if text.isdigit() and len(text) < 19 else None
