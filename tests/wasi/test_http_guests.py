"""Instances for requests: how often they are made, used and let go; under trio's own clock."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import component_rt as rt
from component_rt.wasi.http_fields import Fields
from component_rt.wasi.http_types import IncomingBody, IncomingRequest, ResponseOutparam
from component_rt.wasi.pipe import Pipe
from core_rt.errors import LinkError, Trap

pytest.importorskip("h11")

from component_rt.wasi import http_guests

WEB = Path(__file__).parents[2] / "examples" / "guest" / "web.wasm"


@pytest.fixture(scope="module")
def linker() -> rt.Linker:
    linker = rt.Linker(rt.Engine())
    linker.define_wasi()
    return linker


@pytest.fixture(scope="module")
def web(linker: rt.Linker) -> rt.Component:
    return rt.Component.from_file(linker.engine, WEB)


async def ask(guest: Any, path: str) -> tuple[int, bytes]:
    body = IncomingBody(Pipe())
    body.end()
    outparam = ResponseOutparam()
    request = IncomingRequest("GET", path, "http", "me", Fields.received([]), body)
    with trio.fail_after(1000):
        await guest(request, outparam)
    response: Any = outparam.result.value  # type: ignore[union-attr]
    pipe = response.outgoing_body.pipe
    return response.status_code(), b"".join(iter(lambda: pipe.take(1 << 16), None))


def test_instances_are_used_and_replaced(linker: rt.Linker, web: rt.Component) -> None:
    async def main() -> list[bytes]:
        async with http_guests.instances(linker, web, reuse=2) as guest:
            return [(await ask(guest, "/count"))[1] for _ in range(5)]

    assert trio.run(main) == [b"1", b"2", b"1", b"2", b"1"]


def test_one_that_failed_is_not_used_again(linker: rt.Linker, web: rt.Component) -> None:
    async def main() -> list[bytes]:
        async with http_guests.instances(linker, web, reuse=100) as guest:
            before = await ask(guest, "/count")
            with pytest.raises(Trap, match="unreachable"):
                await ask(guest, "/trap")
            return [before[1], (await ask(guest, "/count"))[1], (await ask(guest, "/count"))[1]]

    assert trio.run(main) == [b"1", b"1", b"2"]


def test_those_that_nobody_wants_are_let_go(linker: rt.Linker, web: rt.Component) -> None:
    async def main() -> None:
        async with http_guests.instances(linker, web, reuse=100) as guest:
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(ask, guest, "/wait?50")
            assert len(guest._idle) == 5
            await trio.sleep(40)
            await ask(guest, "/")
            assert len(guest._idle) == 5
            await trio.sleep(40)
            await ask(guest, "/")
            assert len(guest._idle) == 1

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.2))


def test_a_guest_has_its_time_only(linker: rt.Linker, web: rt.Component) -> None:
    async def main() -> None:
        async with http_guests.instances(linker, web, seconds=0.1) as guest:
            for path in ("/spin", "/wait?100000"):
                with pytest.raises(Trap, match=r"stopped after 0\.1 s"):
                    await ask(guest, path)
            assert (await ask(guest, "/"))[0] == 200

    trio.run(main)


def test_what_is_missing_is_told_at_once(web: rt.Component, linker: rt.Linker) -> None:
    async def main() -> None:
        async with http_guests.instances(rt.Linker(linker.engine), web):
            raise AssertionError

    with pytest.raises(LinkError, match="wasi:"):
        trio.run(main)


def test_instances_share_a_room_one_after_the_other(linker: rt.Linker, web: rt.Component) -> None:
    """What ends a store in the middle of something ends its room as well; the next instance gets a new one."""

    async def main() -> None:
        async with http_guests.instances(linker, web) as guest:
            await guest.warm_up()
            (place,) = [instance.place for instance in guest._idle]
            for _ in range(3):
                assert (await ask(guest, "/count"))[1] == b"1"
                await trio.testing.wait_all_tasks_blocked()
                assert [instance.place for instance in guest._idle] == [place] and not guest._places
            store = guest._idle[0].store
            store.start_task(trio.sleep_forever)  # something that its end must not leave to the next store
            assert (await ask(guest, "/count"))[1] == b"1"
            await trio.testing.wait_all_tasks_blocked()
            (other,) = [instance.place for instance in guest._idle]
            assert store.closed and place.over.is_set() and other is not place
            assert (await ask(guest, "/count"))[1] == b"1"

    trio.run(main)


def test_used_instances_are_gone_without_the_collector(linker: rt.Linker, web: rt.Component) -> None:
    async def main() -> None:
        async with http_guests.instances(linker, web) as guest:
            await ask(guest, "/")
            await trio.testing.wait_all_tasks_blocked()
            (instance,) = guest._idle
            store = weakref.ref(instance.store)
            del instance
            gc.collect()
            gc.disable()
            try:
                await ask(guest, "/")
                await trio.testing.wait_all_tasks_blocked()
                assert store() is None
            finally:
                gc.enable()

    trio.run(main)
