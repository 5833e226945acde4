"""How errors of the host's sockets are called in `wasi:sockets` 0.3, and where sockets are bound that nobody has bound."""

from __future__ import annotations

import errno
import functools
import ipaddress
import os
import socket
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from component_rt.wasi._values import Case, Err, variant
from component_rt.wasi.addresses import Endpoint
from component_rt.wasi.config import NetworkPolicy
from component_rt.wasi.errno_names import SOCKETS

__all__ = ["code", "errors", "somewhere"]

P = ParamSpec("P")
R = TypeVar("R")

_CODES = {
    errno.EPIPE: "connection-broken",
    errno.EALREADY: "invalid-state",
    errno.EPFNOSUPPORT: "not-supported",
    errno.ESOCKTNOSUPPORT: "not-supported",
}
"""Where the versions differ."""
_GONE = frozenset({"would-block", "new-socket-limit", "concurrency-conflict", "unknown"})
"""Codes of 0.2 that 0.3 does not have."""


def code(error: BaseException) -> Case:
    """The `error-code` for an error of the host."""
    number = getattr(error, "errno", None) or 0
    name = _CODES.get(number) or SOCKETS.get(number, "unknown")
    if name in _GONE:
        return variant("other", os.strerror(number) if number else str(error) or None)
    return variant(name)


def errors(call: Callable[P, R]) -> Callable[P, R]:
    """Decorate a host function, one of 0.2 perhaps, so that what it raises is `Err` of an error code of 0.3."""

    @functools.wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except OSError as error:
            raise Err(code(error)) from None
        except Err as error:
            # What the functions of 0.2 raise for an error of the host.
            if isinstance(error.__context__, OSError):
                raise Err(code(error.__context__)) from None
            raise

    return wrapped


def somewhere(policy: NetworkPolicy, kind: str, family: socket.AddressFamily) -> Endpoint:
    """Where a socket is bound that is used before it is bound: to all addresses, or where that is not allowed to loopback.

    Raises `Err(access-denied)` if neither is.
    """
    hosts = ("0.0.0.0", "127.0.0.1") if family == socket.AF_INET else ("::", "::1")
    places = [Endpoint(ipaddress.ip_address(host), 0) for host in hosts]
    found = next((place for place in places if policy.allow(kind, place.address, 0)), places[0])
    found.permit(policy, kind)
    return found
