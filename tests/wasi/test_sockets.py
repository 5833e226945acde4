"""wasi:sockets over the real loopback interface."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from component_rt.values import Case, Err
from component_rt.wasi import WasiConfig, io, sockets
from component_rt.wasi.config import NetworkPolicy
from component_rt.wasi.io import IoError
from core_rt.errors import Trap

LOOPBACK = {"ipv4": (127, 0, 0, 1), "ipv6": (0, 0, 0, 0, 0, 0, 0, 1)}


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


FAMILIES = ["ipv4", pytest.param("ipv6", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]


def at(family: str, port: int, address: tuple[int, ...] | None = None) -> Case:
    record: dict[str, Any] = {"port": port, "address": address or LOOPBACK[family]}
    if family == "ipv6":
        record |= {"flow_info": 0, "scope_id": 0}
    return Case(family, record)


def code(call: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(Err) as caught:
        call(*args)
    return str(caught.value.value)


class World:
    def __init__(self, policy: Any) -> None:
        found = sockets.interfaces(WasiConfig(network=policy))
        self.network: Any = found["wasi:sockets/instance-network"].instance_network()  # type: ignore[attr-defined]
        self.tcp: Any = found["wasi:sockets/tcp-create-socket"].create_tcp_socket  # type: ignore[attr-defined]
        self.udp: Any = found["wasi:sockets/udp-create-socket"].create_udp_socket  # type: ignore[attr-defined]
        self.lookup: Any = found["wasi:sockets/ip-name-lookup"].resolve_addresses  # type: ignore[attr-defined]
        self.code: Any = found["wasi:sockets/network"].network_error_code  # type: ignore[attr-defined]

    def listener(self, family: str) -> Any:
        listener = self.tcp(family)
        listener.start_bind(self.network, at(family, 0))
        listener.finish_bind()
        listener.start_listen()
        listener.finish_listen()
        return listener

    def pair(self, family: str) -> tuple[Any, Any, Any, Any, Any]:
        """A listener, then both ends' streams."""
        listener = self.listener(family)
        client = self.tcp(family)
        client.start_connect(self.network, listener.local_address())
        listener.subscribe().block()
        accepted, server_in, server_out = listener.accept()
        client.subscribe().block()
        client_in, client_out = client.finish_connect()
        assert client.remote_address() == listener.local_address()
        assert accepted.remote_address() == client.local_address()
        return client, client_in, client_out, (accepted, server_in, server_out), listener


@pytest.fixture
def world() -> Iterator[World]:
    yield World("loopback")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation(world: World, family: str) -> None:
    client, client_in, client_out, (_, server_in, server_out), listener = world.pair(family)
    assert listener.is_listening() and not client.is_listening()
    assert client.address_family() == family
    assert server_in.read(10) == b""
    client_out.blocking_write_and_flush(b"ping")
    assert server_in.blocking_read(10) == b"ping"
    server_out.blocking_write_and_flush(b"pong")
    assert client_in.blocking_read(2) == b"po"
    assert client_in.blocking_read(2) == b"ng"
    client.shutdown("send")
    with pytest.raises(Err) as caught:
        server_in.blocking_read(10)
    assert caught.value.value == Case("closed")
    with pytest.raises(Err) as caught:
        client_out.check_write()
    assert caught.value.value == Case("closed")
    client.shutdown("send")
    client.shutdown("both")
    with pytest.raises(Err):
        client_in.read(1)


def test_backpressure_and_the_rest_is_sent(world: World) -> None:
    _, _, client_out, (_, server_in, _), _ = world.pair("ipv4")
    sent = 0
    while permit := client_out.check_write():
        client_out.write(b"x" * permit)
        sent += permit
        assert sent < 1 << 27
    assert not client_out.subscribe().ready()
    client_out.close()
    got = 0
    with pytest.raises(Err):
        while True:
            got += len(server_in.blocking_read(1 << 20))
            if got == sent:
                # The listener's side stays open only as long as somebody holds the client.
                del client_out
                raise Err
    assert got == sent


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_can_be_bound_again_at_once(world: World, family: str) -> None:
    """Though it was the kernel that chose it, and connections of it are not quite gone."""
    client, client_in, client_out, served, listener = world.pair(family)
    address = listener.local_address()
    served[0].shutdown("send")
    del served, listener
    again = world.tcp(family)
    again.start_bind(world.network, address)
    again.finish_bind()
    again.start_listen()
    again.finish_listen()
    assert again.local_address() == address
    del client, client_in, client_out


def test_writing_more_than_allowed_traps(world: World) -> None:
    _, _, out, _, _ = world.pair("ipv4")
    with pytest.raises(Trap, match="check-write allowed 0"):
        out.write(b"x")


def test_a_reset_is_told_as_a_network_error(world: World) -> None:
    _, client_in, _, (accepted, *_kept), _ = world.pair("ipv4")
    held = accepted._held.sock
    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    held.close()
    client_in.subscribe().block()
    with pytest.raises(Err) as caught:
        client_in.read(1)
    case = caught.value.value
    assert case.label == "last-operation-failed" and isinstance(case.value, IoError)
    assert world.code(case.value) == "connection-reset"
    assert world.code(IoError(OSError(104, "x"), "filesystem")) is None


def test_states(world: World) -> None:
    fresh = world.tcp("ipv4")
    for call in (fresh.local_address, fresh.remote_address, fresh.start_listen, fresh.accept):
        assert code(call) == "invalid-state"
    assert code(fresh.shutdown, "send") == "invalid-state"
    for call in (fresh.finish_bind, fresh.finish_listen, fresh.finish_connect):
        assert code(call) == "not-in-progress"
    fresh.start_bind(world.network, at("ipv4", 0))
    assert code(fresh.start_bind, world.network, at("ipv4", 0)) == "invalid-state"
    assert code(fresh.local_address) == "invalid-state"
    fresh.finish_bind()
    assert fresh.local_address().value["port"] > 0
    listener = world.listener("ipv4")
    assert code(listener.accept) == "would-block"
    assert code(listener.start_connect, world.network, at("ipv4", 1)) == "invalid-state"
    taken = world.tcp("ipv4")
    assert code(taken.start_bind, world.network, listener.local_address()) == "address-in-use"
    taken.start_bind(world.network, at("ipv4", 0))


def test_addresses_that_make_no_sense(world: World) -> None:
    tcp = world.tcp("ipv4")
    mapped = (0, 0, 0, 0, 0, 0xFFFF, 0x7F00, 1)
    bad = [at("ipv6", 0), at("ipv4", 0, (224, 0, 0, 1)), at("ipv4", 0, (255, 255, 255, 255))]
    for address in bad:
        assert code(tcp.start_bind, world.network, address) == "invalid-argument"
    for address in [*bad, at("ipv4", 0), at("ipv4", 80, (0, 0, 0, 0))]:
        assert code(tcp.start_connect, world.network, address) == "invalid-argument"
    if has_ipv6():
        assert code(world.tcp("ipv6").start_bind, world.network, at("ipv6", 0, mapped)) == "invalid-argument"


def test_a_refused_connection_closes_the_socket(world: World) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tcp = world.tcp("ipv4")
    tcp.start_connect(world.network, at("ipv4", port))
    tcp.subscribe().block()
    assert code(tcp.finish_connect) == "connection-refused"
    assert code(tcp.start_connect, world.network, at("ipv4", port)) == "invalid-state"


def test_options(world: World) -> None:
    tcp = world.tcp("ipv4")
    tcp.set_keep_alive_enabled(True)
    tcp.set_keep_alive_idle_time(1)
    tcp.set_keep_alive_interval(5_000_000_001)
    tcp.set_keep_alive_count(1000)
    tcp.set_hop_limit(7)
    tcp.set_receive_buffer_size(50_000)
    tcp.set_send_buffer_size(50_000)
    tcp.set_listen_backlog_size(1 << 60)
    assert tcp.keep_alive_enabled() and tcp.keep_alive_idle_time() == 10**9
    assert tcp.keep_alive_interval() == 6 * 10**9 and tcp.keep_alive_count() == 127
    assert tcp.hop_limit() == 7
    assert tcp.receive_buffer_size() == tcp.send_buffer_size() == 50_000
    for setter in (
        tcp.set_keep_alive_idle_time,
        tcp.set_keep_alive_interval,
        tcp.set_keep_alive_count,
        tcp.set_hop_limit,
        tcp.set_receive_buffer_size,
        tcp.set_send_buffer_size,
        tcp.set_listen_backlog_size,
    ):
        assert code(setter, 0) == "invalid-argument"


@pytest.mark.parametrize("family", FAMILIES)
def test_datagrams(world: World, family: str) -> None:
    one, two, other = (world.udp(family) for _ in range(3))
    for each in (one, two, other):
        assert code(each.stream, None) == "invalid-state"
        each.start_bind(world.network, at(family, 0))
        each.finish_bind()
    one_in, one_out = one.stream(None)
    _, two_out = two.stream(one.local_address())
    _, other_out = other.stream(None)
    assert two.remote_address() == one.local_address()
    assert code(one.remote_address) == "invalid-state"
    assert one_in.receive(10) == []
    assert two_out.check_send() > 1
    assert (
        two_out.send([{"data": b"a", "remote_address": None}, {"data": b"b", "remote_address": one.local_address()}])
        == 2
    )
    one_in.subscribe().block()
    got = one_in.receive(1) + one_in.receive(5)
    assert [g["data"] for g in got] == [b"a", b"b"]
    assert got[0]["remote_address"] == two.local_address()
    # With a fixed peer others are not heard, and may not be written to.
    other_out.check_send()
    assert other_out.send([{"data": b"x", "remote_address": one.local_address()}]) == 1
    fixed_in, fixed_out = one.stream(two.local_address())
    fixed_out.check_send()
    assert code(fixed_out.send, [{"data": b"y", "remote_address": other.local_address()}]) == "invalid-argument"
    two_out.check_send()
    two_out.send([{"data": b"c", "remote_address": None}])
    fixed_in.subscribe().block()
    received = fixed_in.receive(5)
    while not received:
        received = fixed_in.receive(5)
    assert [g["data"] for g in received] == [b"c"]
    # The streams of before are out of force; without a peer, an address is needed.
    assert code(one_in.receive, 1) == code(one_out.check_send) == "invalid-state"
    _, free_out = one.stream(None)
    free_out.check_send()
    assert code(free_out.send, [{"data": b"z", "remote_address": None}]) == "invalid-argument"
    assert code(free_out.send, [{"data": b"z" * 70000, "remote_address": two.local_address()}]) == "datagram-too-large"
    with pytest.raises(Trap, match="check-send allowed"):
        free_out.send([{"data": b"", "remote_address": two.local_address()}] * 20)


def test_nothing_is_allowed_by_default() -> None:
    world = World(None)
    assert code(world.tcp("ipv4").start_bind, world.network, at("ipv4", 0)) == "access-denied"
    assert code(world.tcp("ipv4").start_connect, world.network, at("ipv4", 80)) == "access-denied"
    assert code(world.udp("ipv4").start_bind, world.network, at("ipv4", 0)) == "access-denied"
    assert code(world.lookup, world.network, "localhost") == "access-denied"


def test_the_policy_is_asked_for_each_address() -> None:
    asked: list[tuple[str, str, int]] = []

    def allow(kind: str, address: Any, port: int) -> bool:
        asked.append((kind, str(address), port))
        return kind == "udp-bind"

    world = World(NetworkPolicy(allow))
    udp = world.udp("ipv4")
    udp.start_bind(world.network, at("ipv4", 0))
    udp.finish_bind()
    _, out = udp.stream(None)
    out.check_send()
    assert code(out.send, [{"data": b"", "remote_address": at("ipv4", 9)}]) == "access-denied"
    assert code(udp.stream, at("ipv4", 9)) == "access-denied"
    assert code(world.tcp("ipv4").start_connect, world.network, at("ipv4", 9)) == "access-denied"
    assert asked == [
        ("udp-bind", "127.0.0.1", 0),
        ("udp-send", "127.0.0.1", 9),
        ("udp-send", "127.0.0.1", 9),
        ("tcp-connect", "127.0.0.1", 9),
    ]


def test_looking_up_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = world.lookup(world.network, "127.0.0.1")
    assert found.resolve_next_address() == Case("ipv4", (127, 0, 0, 1))
    assert found.resolve_next_address() is None
    assert world.lookup(world.network, "::1").resolve_next_address() == Case("ipv6", LOOPBACK["ipv6"])
    for bad in ("", "a b", "-x", "x..y", "a" * 300, "http://x", "\0"):
        assert code(world.lookup, world.network, bad) == "invalid-argument"

    answers: dict[str, Any] = {
        "both.test": [
            (socket.AF_INET6, 0, 0, "", ("::1", 0, 0, 0)),
            (socket.AF_INET6, 0, 0, "", ("::ffff:1.2.3.4", 0, 0, 0)),
            (socket.AF_INET, 0, 0, "", ("1.2.3.4", 0)),
        ],
        "gone.test": socket.gaierror(socket.EAI_NONAME, "x"),
        "later.test": socket.gaierror(socket.EAI_AGAIN, "x"),
        "xn--bcher-kva.test": [],
    }

    def fake(name: str, port: Any, **rest: Any) -> Any:
        answer = answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    found = world.lookup(world.network, "both.test")
    found.subscribe().block()
    assert found.resolve_next_address() == Case("ipv6", LOOPBACK["ipv6"])
    assert found.resolve_next_address() == Case("ipv4", (1, 2, 3, 4))
    assert found.resolve_next_address() is None
    for name, wanted in (
        ("gone.test", "name-unresolvable"),
        ("later.test", "temporary-resolver-failure"),
        ("bücher.test", "name-unresolvable"),
    ):
        found = world.lookup(world.network, name)
        found.subscribe().block()
        assert code(found.resolve_next_address) == wanted


def test_waiting_in_trio_blocks_no_other_task(world: World) -> None:
    """Two guests on one connection: the reader waits, the writer's task goes on."""
    _, _, client_out, (_, server_in, _), listener = world.pair("ipv4")
    order: list[str] = []

    async def reader() -> None:
        data = await server_in.blocking_read.awaited(10)
        order.append(f"read {data!r}")

    async def writer() -> None:
        await trio.sleep(0.01)
        order.append("write")
        await client_out.blocking_write_and_flush.awaited(b"hi")

    async def main() -> None:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader)
                nursery.start_soon(writer)
            # The same descriptor twice in one poll, and a cancelled wait.
            poll = io.Poll().poll.awaited
            pollables = [listener.subscribe(), listener.subscribe()]
            with trio.move_on_after(0.01) as scope:
                await poll(pollables)
            assert scope.cancelled_caught
            with socket.create_connection(("127.0.0.1", listener.local_address().value["port"])):
                assert await poll(pollables) == [0, 1]

    trio.run(main)
    assert order == ["write", "read b'hi'"]
