"""One connection of an HTTP/1.1 server: h11's state machine and the stream beneath it.

What is to be sent is collected and goes out when there is nothing more to add, so that a short response is one packet. Two
tasks send: the one that responds, and the one that receives where the peer waits for "100 Continue". Only one receives.
"""

from __future__ import annotations

import email.utils
import http
import time
from typing import Any

import h11
import trio

from component_rt.wasi.http_fields import Fields

__all__ = ["GONE", "READ", "Wire", "pairs_of"]

READ = 1 << 16
"""Bytes received at once, and collected at most before they are sent."""
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)
"""The peer has gone, or does not move any more."""

_DRAIN_BYTES = 1 << 20
_DRAIN_SECONDS = 2.0
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}


class Wire:
    """`stall_seconds`: how long the peer may take to send or to take something."""

    __slots__ = ("_lock", "_pending", "connection", "stall_seconds", "stream")

    def __init__(self, stream: trio.abc.HalfCloseableStream, header_bytes: int, stall_seconds: float) -> None:
        self.stream = stream
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=header_bytes)
        self.stall_seconds = stall_seconds
        self._lock = trio.Lock()
        self._pending: list[bytes] = []

    # -- receiving ---------------------------------------------------------------------------------------------------

    async def receive(self) -> Any:
        """The next event. Raises `h11.RemoteProtocolError` for what is no HTTP."""
        connection = self.connection
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(bytes(await self.stream.receive_some(READ)))
        return event

    async def receive_soon(self) -> Any:
        """`receive` that raises `trio.TooSlowError` when the peer does not go on."""
        with trio.fail_after(self.stall_seconds):
            return await self.receive()

    async def peer_left(self) -> bool:
        """Behind a whole request: whether the peer ends its side. Bytes that come are the next request's."""
        try:
            data = bytes(await self.stream.receive_some(READ))
        except GONE:
            data = b""
        self.connection.receive_data(data)
        return not data

    async def drain(self) -> None:
        """Skip a reasonable rest of the request's body, so that the connection can go on."""
        connection = self.connection
        if connection.they_are_waiting_for_100_continue:
            return
        left = _DRAIN_BYTES
        with trio.move_on_after(_DRAIN_SECONDS):
            while connection.their_state is h11.SEND_BODY and left > 0:
                event = await self.receive()
                left -= len(event.data) if isinstance(event, h11.Data) else 0

    async def close(self) -> None:
        """Close, gently where bytes of the peer are unread: a reset could take our last words from it."""
        if self.connection.their_state in (h11.SEND_BODY, h11.ERROR):
            left = _DRAIN_BYTES
            with trio.move_on_after(_DRAIN_SECONDS):
                await self.stream.send_eof()
                while left > 0 and (data := await self.stream.receive_some(READ)):
                    left -= len(data)

    # -- sending -----------------------------------------------------------------------------------------------------

    async def send(self, event: Any) -> None:
        """Send an event, with what was collected before. Raises `h11.LocalProtocolError` if it may not come now."""
        self.collect(event)
        await self.flush()

    def collect(self, event: Any) -> bool:
        """Send an event later; whether it is time to flush."""
        data = self.connection.send(event)
        if data:
            self._pending.append(data)
        return sum(map(len, self._pending)) >= READ

    async def flush(self) -> None:
        """Send what was collected. Raises what `GONE` lists."""
        async with self._lock:
            if self._pending:
                data = b"".join(self._pending)
                self._pending.clear()
                with trio.fail_after(self.stall_seconds):
                    await self.stream.send_all(data)

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin a response. Raises `h11.LocalProtocolError` if these headers make none."""
        if not any(name.lower() == b"date" for name, _ in headers):
            headers.append((b"date", _now()))
        self.collect(h11.Response(status_code=status, headers=headers, reason=_REASONS.get(status, "")))

    async def plain(self, status: int, text: str) -> None:
        """A whole response of our own. Raises `h11.LocalProtocolError` if another was begun."""
        if self.connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise h11.LocalProtocolError("too late for another response")
        body = f"{text}\n".encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        if self.connection.their_state is h11.ERROR:
            headers.append((b"connection", b"close"))
        self.head(status, headers)
        if not self._is_head_request():
            self.collect(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    def _is_head_request(self) -> bool:
        return self.connection._request_method == b"HEAD"


def pairs_of(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Fields as h11 wants them."""
    return [(name.encode(), value.strip(b" \t")) for name, value in fields.pairs]


_date = (0, b"")


def _now() -> bytes:
    """The time for a `date` header."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = second, email.utils.formatdate(second, usegmt=True).encode()
    return _date[1]
