"""wasi:sockets 0.3: sockets driven from Python, and a guest that talks over the loopback interface, in stores of both kinds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
import wasmtime

import component_rt as rt
from component_rt.values import Case, Err
from component_rt.wasi import NetworkPolicy, WasiConfig
from component_rt.wasi.p3.sockets import IpNameLookup, Types
from tests.wasi.p3.tcp_guest import SOCKETS


def error(call: Callable[..., Any], *args: Any) -> Any:
    with pytest.raises(Err) as caught:
        call(*args)
    found = caught.value.value
    return found.label if isinstance(found, Case) else found


def ipv4(port: int, *address: int) -> Case:
    return Case("ipv4", {"port": port, "address": address or (127, 0, 0, 1)})


def ipv6(port: int, *address: int) -> Case:
    return Case("ipv6", {"port": port, "flow_info": 0, "address": address or (0, 0, 0, 0, 0, 0, 0, 1), "scope_id": 0})


def port_of(address: Any) -> int:
    return int(address.value["port"])


@pytest.fixture
def types() -> Any:
    return Types(WasiConfig(network="loopback"))


# ---- TCP -------------------------------------------------------------------------------------------------------------


def test_the_states_of_tcp(types: Any) -> None:
    tcp = types.TcpSocket.create("ipv4")
    assert isinstance(tcp, types.TcpSocket) and tcp.get_address_family() == "ipv4"
    assert error(tcp.get_local_address) == error(tcp.get_remote_address) == "invalid-state"
    assert tcp.receive() == (b"", Err("invalid-state"))
    for bad in (ipv6(0), ipv4(0, 224, 0, 0, 1)):
        assert error(tcp.bind, bad) == "invalid-argument"
    assert error(tcp.bind, ipv4(0, 0, 0, 0, 0)) == "access-denied"
    tcp.bind(ipv4(0))  # one that failed may be tried again
    assert error(tcp.bind, ipv4(0)) == "invalid-state"
    port = port_of(tcp.get_local_address())
    assert not tcp.get_is_listening()
    tcp.listen()
    assert tcp.get_is_listening() and port_of(tcp.get_local_address()) == port
    assert error(tcp.listen) == error(tcp.connect, ipv4(1)) == "invalid-state"

    client = types.TcpSocket.create("ipv4")
    for bad in (ipv6(port), ipv4(0), ipv4(port, 0, 0, 0, 0), ipv4(port, 255, 255, 255, 255)):
        assert error(client.connect, bad) == "invalid-argument"
    assert error(client.connect, ipv4(port, 192, 0, 2, 1)) == "access-denied"
    client.connect(ipv4(port))
    assert port_of(client.get_remote_address()) == port
    assert error(client.connect, ipv4(port)) == error(client.listen) == error(client.bind, ipv4(0)) == "invalid-state"
    assert error(client.set_listen_backlog_size, 1) == "invalid-state"

    lost = types.TcpSocket.create("ipv4")
    assert error(lost.connect, ipv4(1)) == "connection-refused"
    assert error(lost.connect, ipv4(port)) == error(lost.get_local_address) == "invalid-state"


def test_an_address_in_use(types: Any) -> None:
    first, second = types.TcpSocket.create("ipv4"), types.TcpSocket.create("ipv4")
    first.bind(ipv4(0))
    first.listen()
    assert error(second.bind, first.get_local_address()) == "address-in-use"
    free = Types(WasiConfig(network="full")).TcpSocket.create("ipv4")
    assert error(free.bind, ipv4(0, 192, 0, 2, 1)) == "address-not-bindable"


def test_a_listener_that_nobody_bound(types: Any) -> None:
    tcp = types.TcpSocket.create("ipv4")
    tcp.listen()
    assert tcp.get_local_address().value["address"] == (127, 0, 0, 1), "all that is allowed"
    everywhere = Types(WasiConfig(network="full")).TcpSocket.create("ipv4")
    everywhere.listen()
    assert everywhere.get_local_address().value["address"] == (0, 0, 0, 0)
    assert error(Types(WasiConfig()).TcpSocket.create("ipv4").listen) == "access-denied"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_options(types: Any, family: str) -> None:
    tcp = types.TcpSocket.create(family)
    second = 1_000_000_000
    for name, value in (
        ("keep_alive_enabled", True),
        ("keep_alive_idle_time", 7 * second),
        ("keep_alive_interval", 3 * second),
        ("keep_alive_count", 4),
        ("hop_limit", 9),
        ("receive_buffer_size", 65536),
        ("send_buffer_size", 65536),
    ):
        getattr(tcp, f"set_{name}")(value)
        assert getattr(tcp, f"get_{name}")() == value
        if value is not True:
            assert error(getattr(tcp, f"set_{name}"), 0) == "invalid-argument"
    assert error(tcp.set_listen_backlog_size, 0) == "invalid-argument"
    tcp.set_listen_backlog_size(1 << 40)
    udp = types.UdpSocket.create(family)
    for name, value in (("unicast_hop_limit", 9), ("receive_buffer_size", 65536), ("send_buffer_size", 65536)):
        getattr(udp, f"set_{name}")(value)
        assert getattr(udp, f"get_{name}")() == value
        assert error(getattr(udp, f"set_{name}"), 0) == "invalid-argument"
    assert udp.get_address_family() == family


def test_sockets_are_counted() -> None:
    types = Types(WasiConfig(network="loopback", max_open=2))
    kept = [types.TcpSocket.create("ipv4"), types.UdpSocket.create("ipv4")]
    assert error(types.TcpSocket.create, "ipv4") == "other"
    del kept
    types.UdpSocket.create("ipv6")


# ---- UDP -------------------------------------------------------------------------------------------------------------


def test_the_states_of_udp(types: Any) -> None:
    udp, peer = types.UdpSocket.create("ipv4"), types.UdpSocket.create("ipv4")
    assert error(udp.receive) == error(udp.get_local_address) == "invalid-state"
    assert error(udp.disconnect) == error(udp.get_remote_address) == "invalid-state"
    assert error(udp.send, b"x", None) == "invalid-argument"
    for bad in (ipv6(1), ipv4(0), ipv4(1, 0, 0, 0, 0)):
        assert error(udp.send, b"x", bad) == error(udp.connect, bad) == "invalid-argument"
    assert error(udp.send, b"x", ipv4(1, 192, 0, 2, 1)) == "access-denied"
    assert error(udp.bind, ipv4(0, 0, 0, 0, 0)) == "access-denied"
    peer.bind(ipv4(0))
    assert error(peer.bind, ipv4(0)) == "invalid-state"
    there = peer.get_local_address()
    udp.send(b"one", there)  # binds
    data, sender = peer.receive()
    assert data == b"one" and port_of(sender) == port_of(udp.get_local_address())
    assert error(udp.bind, ipv4(0)) == "invalid-state"
    assert error(udp.send, b"x" * 65508, there) == "datagram-too-large"


def test_a_fixed_peer(types: Any) -> None:
    udp, peer, other = (types.UdpSocket.create("ipv4") for _ in range(3))
    peer.bind(ipv4(0))
    udp.bind(ipv4(0))
    here, there = udp.get_local_address(), peer.get_local_address()
    other.send(b"early", here)
    udp.connect(there)
    assert port_of(udp.get_remote_address()) == port_of(there)
    other.send(b"late", here)
    peer.send(b"", here)
    assert udp.receive()[0] == b"", "from the peer only"
    udp.send(b"a", None)
    udp.send(b"b", there)
    assert [peer.receive()[0] for _ in "ab"] == [b"a", b"b"]
    assert error(udp.send, b"x", ipv4(1)) == "invalid-argument"
    udp.disconnect()
    assert port_of(udp.get_local_address()) == port_of(here)
    other.send(b"now", here)
    assert udp.receive()[0] == b"now"


def test_waiting_for_datagrams_under_trio(types: Any) -> None:
    async def main() -> None:
        udp, peer = types.UdpSocket.create("ipv4"), types.UdpSocket.create("ipv4")
        udp.bind(ipv4(0))
        found: list[bytes] = []

        async def receive() -> None:
            found.append((await udp.receive.awaited())[0])

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
                await peer.send.awaited(b"x", udp.get_local_address())
            with trio.move_on_after(0.01) as scope:
                await udp.receive.awaited()
        assert found == [b"x"] and scope.cancelled_caught

    trio.run(main)


# ---- names -----------------------------------------------------------------------------------------------------------


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = IpNameLookup(WasiConfig(network=NetworkPolicy(lambda *_: False, names=True)))
    assert lookup.resolve_addresses("127.0.0.1") == [Case("ipv4", (127, 0, 0, 1))]
    assert lookup.resolve_addresses("[::1]") == [Case("ipv6", (0, 0, 0, 0, 0, 0, 0, 1))]
    assert lookup.resolve_addresses("::ffff:10.0.0.1") == [Case("ipv4", (10, 0, 0, 1))]
    assert Case("ipv4", (127, 0, 0, 1)) in lookup.resolve_addresses("localhost")
    for bad in ("", "a b", "-a", "a..b"):
        assert error(lookup.resolve_addresses, bad) == "invalid-argument"
    assert error(IpNameLookup(WasiConfig()).resolve_addresses, "localhost") == "access-denied"

    async def main() -> None:
        assert Case("ipv4", (127, 0, 0, 1)) in await lookup.resolve_addresses.awaited("localhost")

    trio.run(main)
    for number, name in ((socket.EAI_NONAME, "name-unresolvable"), (socket.EAI_MEMORY, "other")):

        def fail(*args: Any, number: int = number, **rest: Any) -> None:
            raise socket.gaierror(number, "no")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        assert error(lookup.resolve_addresses, "example.org") == name


# ---- a guest ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> rt.Engine:
    return rt.Engine()


@pytest.fixture(scope="module")
def guest(engine: rt.Engine) -> rt.Component:
    return rt.Component(engine, bytes(wasmtime.wat2wasm(SOCKETS)))


def linker_of(guest: rt.Component, **config: Any) -> rt.Linker:
    linker = rt.Linker(guest.engine)
    linker.define_wasi(WasiConfig(**{"network": "loopback"} | config))
    return linker


def in_trio(guest: rt.Component, use: Callable[[Any], Any], **config: Any) -> None:
    linker = linker_of(guest, **config)

    async def main() -> None:
        with trio.fail_after(30):
            async with rt.open_store(guest.engine) as store:
                await use((await linker.instantiate_async(store, guest)).exports)

    trio.run(main)


def test_a_guest_connects(guest: rt.Component) -> None:
    big = bytes(range(256)) * 1024

    async def use(exports: Any) -> None:
        async with trio.open_nursery() as nursery:
            heard: list[bytes] = []

            async def answer(stream: trio.SocketStream) -> None:
                heard.append(b"".join([piece async for piece in stream]))
                await stream.send_all(big)
                await stream.aclose()

            (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            assert await exports.fetch(port) == big
            assert heard == [b"ping"]
            nursery.cancel_scope.cancel()
        assert await exports.fetch(port) == b"\2", "connection-refused"

    in_trio(guest, use)


def test_a_guest_whose_peer_breaks_off(guest: rt.Component) -> None:
    async def use(exports: Any) -> None:
        async with trio.open_nursery() as nursery:

            async def answer(stream: trio.SocketStream) -> None:
                assert await stream.receive_some() == b"ping"
                await stream.send_all(b"abc")
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                await stream.aclose()

            (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
            # The reset may overtake what was sent.
            assert await exports.fetch(listener.socket.getsockname()[1]) in (b"abc!", b"!")
            nursery.cancel_scope.cancel()

    in_trio(guest, use)


def test_a_guest_without_a_network(guest: rt.Component) -> None:
    async def use(exports: Any) -> None:
        assert await exports.fetch(1) == b"\0", "access-denied"

    in_trio(guest, use, network="none")


def test_a_guest_listens(guest: rt.Component) -> None:
    big = bytes(range(256)) * 4096

    async def use(exports: Any) -> None:
        port = await exports.listen()

        async def client(data: bytes) -> None:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream, trio.open_nursery() as nursery:

                async def send() -> None:
                    await stream.send_all(data)
                    await stream.send_eof()

                nursery.start_soon(send)
                assert b"".join([piece async for piece in stream]) == data

        for data in (b"abc", big, b""):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(exports.echo)
                nursery.start_soon(client, data)
        await exports.drop()
        with pytest.raises(OSError):
            await trio.open_tcp_stream("127.0.0.1", port)

    in_trio(guest, use)


def test_a_guest_in_a_synchronous_store(guest: rt.Component) -> None:
    exports: Any = linker_of(guest).instantiate(rt.Store(guest.engine), guest).exports
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                data = b""
                while piece := peer.recv(100):
                    data += piece
                peer.sendall(data.upper())

        thread = threading.Thread(target=answer)
        thread.start()
        assert exports.fetch(server.getsockname()[1]) == b"PING"
        thread.join()
    port = exports.listen()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"abc")
        client.shutdown(socket.SHUT_WR)
        exports.echo()
        assert client.recv(100) == b"abc"
