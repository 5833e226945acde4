"""What a guest is given: arguments, environment, standard streams, directories, clocks, randomness and the network.

`WasiConfig()` grants nothing: no arguments or variables, an empty stdin, outputs that are thrown away, no directories,
no network. Clocks and randomness are there always, since a guest without them hardly starts; each can be replaced.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs

__all__ = ["Budget", "Dir", "HttpPolicy", "NetworkPolicy", "WasiConfig"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _path(path: str | bytes | os.PathLike[str]) -> str:
    return os.fsdecode(path)


@attrs.frozen
class Dir:
    """A directory of the host that a guest may use.

    `path` is a directory; `mode` is `"ro"` (nothing below can be changed by the guest) or `"rw"`.
    """

    path: str = attrs.field(converter=_path)
    mode: Literal["ro", "rw"] = attrs.field(default="ro", validator=attrs.validators.in_(("ro", "rw")))

    @property
    def writable(self) -> bool:
        """Whether the guest may change what is in it."""
        return self.mode == "rw"


def _refuse(kind: str, address: Address, port: int) -> bool:
    return False


def _loopback(kind: str, address: Address, port: int) -> bool:
    return address.is_loopback


def _any_address(kind: str, address: Address, port: int) -> bool:
    return True


@attrs.frozen
class NetworkPolicy:
    """Which addresses a guest may use, and whether it may look up names.

    `allow(kind, address, port)` is asked before each use; `kind` is `"tcp-bind"`, `"tcp-connect"`, `"udp-bind"`,
    `"udp-send"`. It is asked for the address itself, never for a name, so a name that resolves elsewhere gains nothing.
    """

    allow: Callable[[str, Address, int], bool] = _refuse
    names: bool = False

    @classmethod
    def none(cls) -> NetworkPolicy:
        """No network."""
        return cls()

    @classmethod
    def loopback(cls) -> NetworkPolicy:
        """This machine's loopback addresses only."""
        return cls(_loopback, names=True)

    @classmethod
    def full(cls) -> NetworkPolicy:
        """Everything the host can reach."""
        return cls(_any_address, names=True)


def _network(value: NetworkPolicy | str | bool | None) -> NetworkPolicy:
    if isinstance(value, NetworkPolicy):
        return value
    if value in (None, False, "none"):
        return NetworkPolicy.none()
    if value == "loopback":
        return NetworkPolicy.loopback()
    if value in (True, "inherit", "full"):
        return NetworkPolicy.full()
    raise ValueError(f"network: wanted a NetworkPolicy, 'none', 'loopback' or 'full', not {value!r}")


@attrs.frozen
class HttpPolicy:
    """Where outgoing HTTP requests may go.

    `allow(method, scheme, authority, path)` is asked for each request. `client`, if given, is used in place of one of our
    own, with what it does besides (cookies, proxies, …): an `httpx2.Client` (or anything with its `build_request` and `send`).
    """

    allow: Callable[[str, str, str, str], bool] = lambda method, scheme, authority, path: False
    client: Any = None
    connect_timeout: float = 600.0
    """Seconds, unless the guest sets its own."""
    first_byte_timeout: float = 600.0
    between_bytes_timeout: float = 600.0

    @classmethod
    def hosts(cls, names: Iterable[str], **options: Any) -> HttpPolicy:
        """Only these authorities: `"example.org"` (any port) or `"example.org:8080"`."""
        wanted = frozenset(name.lower() for name in names)

        def allow(method: str, scheme: str, authority: str, path: str) -> bool:
            host = authority.lower().rpartition("@")[2]
            bare = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
            return host in wanted or bare in wanted

        return cls(allow, **options)


def _http(value: HttpPolicy | bool | Iterable[str] | None) -> HttpPolicy:
    if isinstance(value, HttpPolicy):
        return value
    if value is None or value is False:
        return HttpPolicy()
    if value is True or value in ("inherit", "full"):
        return HttpPolicy(lambda method, scheme, authority, path: True)
    if isinstance(value, str):
        return HttpPolicy.hosts((value,))
    return HttpPolicy.hosts(value)


def _text(value: str | bytes | os.PathLike[str]) -> str:
    text = os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else value
    if not isinstance(text, str):
        raise TypeError(f"wanted text, not {type(value).__name__}")
    if "\0" in text:
        raise ValueError("arguments and environment variables cannot hold NUL characters")
    # A guest's strings are Unicode scalar values; the host's may hold lone surrogates for undecodable bytes.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _args(value: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError("args: wanted a sequence of strings, not one string")
    return tuple(map(_text, value))


def _env(value: Mapping[str, str] | Literal["inherit"]) -> tuple[tuple[str, str], ...]:
    if value == "inherit":
        value = os.environ
    pairs: Iterable[tuple[str, str]] = value.items() if isinstance(value, Mapping) else value
    result = tuple((_text(name), _text(text)) for name, text in pairs)
    for name, _ in result:
        if not name or "=" in name:
            raise ValueError(f"env: {name!r} cannot name a variable")
    return result


def _preopens(value: Mapping[str, Any]) -> tuple[tuple[str, Dir], ...]:
    return tuple((_text(guest), where if isinstance(where, Dir) else Dir(where)) for guest, where in value.items())


class Budget:
    """How many files, sockets, lookups and requests the guests of a configuration may have open at once."""

    __slots__ = ("_lock", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self._lock = threading.Lock()

    def take(self) -> None:
        """One more. Raises `OSError` (EMFILE) if that is one too many."""
        with self._lock:
            if self.left <= 0:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self.left -= 1

    def give(self) -> None:
        """One less."""
        with self._lock:
            self.left += 1


@attrs.frozen
class WasiConfig:
    """Everything a guest gets from its host; the defaults grant nothing.

    - `args`: the program's name first; `env`: a mapping, or `"inherit"`.
    - `stdin`: None (empty), bytes, file object, `callable(count) -> bytes`, `trio.abc.ReceiveStream`, `"inherit"`.
    - `stdout`, `stderr`: None (thrown away), file object, `callable(bytes)`, bytearray, `trio.abc.SendStream`,
      `"inherit"`.
    - `preopens`: guest path → `Dir` (or a path, read-only then).
    - `wall_clock`, `monotonic_clock`: functions that return nanoseconds.
    - `random_bytes(count)`: secure randomness; `insecure_seed`: what the insecure generator starts from (None: random).
    - `network`: a `NetworkPolicy`, `"none"`, `"loopback"`, `"full"`; `http`: an `HttpPolicy`, host names, or True.
    - `initial_cwd`: the guest path that `wasi:cli/environment.initial-cwd` tells.
    - `timezone`: None for UTC, `"local"`, or a `datetime.tzinfo`.
    - `max_open`: files, sockets, lookups and HTTP requests that all guests together may have open at once.

    Raises `TypeError` or `ValueError` for values that cannot be given to a guest.
    """

    args: tuple[str, ...] = attrs.field(default=(), converter=_args)
    env: tuple[tuple[str, str], ...] = attrs.field(factory=dict, converter=_env)
    stdin: Any = None
    stdout: Any = None
    stderr: Any = None
    preopens: tuple[tuple[str, Dir], ...] = attrs.field(factory=dict, converter=_preopens)
    wall_clock: Callable[[], int] = time.time_ns
    monotonic_clock: Callable[[], int] = time.monotonic_ns
    random_bytes: Callable[[int], bytes] = os.urandom
    insecure_seed: int | None = None
    network: NetworkPolicy = attrs.field(default=None, converter=_network)
    http: HttpPolicy = attrs.field(default=None, converter=_http)
    initial_cwd: str | None = None
    timezone: Any = None
    max_open: int = attrs.field(default=1000, validator=[attrs.validators.instance_of(int), attrs.validators.ge(0)])
    budget: Budget = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(lambda self: Budget(self.max_open), takes_self=True)
    )
    """What is left of `max_open`."""

    def insecure_generator(self) -> random.Random:
        """A fresh generator for the insecure interfaces."""
        seed = int.from_bytes(os.urandom(16)) if self.insecure_seed is None else self.insecure_seed
        return random.Random(seed)
