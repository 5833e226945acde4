"""What guests hold open is bounded, and given back."""

from __future__ import annotations

import gc
import socket
from pathlib import Path
from typing import Any

import pytest

from component_rt.values import Case, Err
from component_rt.wasi import VERSION, Dir, WasiConfig, interfaces


class World:
    def __init__(self, **grants: Any) -> None:
        self.config = WasiConfig(**grants)
        found = interfaces(self.config)
        self.all = {name.partition("@")[0]: item for name, item in found.items() if name.endswith(f"@{VERSION}")}

    def __getitem__(self, name: str) -> Any:
        return self.all[f"wasi:{name}"]


def refused(call: Any, *args: Any) -> Any:
    with pytest.raises(Err) as caught:
        call(*args)
    return caught.value.value


def test_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    world = World(preopens={"/": Dir(tmp_path, "rw")}, max_open=3)
    root, _ = world["filesystem/preopens"].get_directories()[0]

    def open_file() -> Any:
        return root.open_at(set(), "file", set(), {"read"})

    first, second = open_file(), open_file()
    listing = root.read_directory()
    assert refused(open_file) == "insufficient-memory"
    assert refused(root.read_directory) == "insufficient-memory"
    stream = first.read_via_stream(0)
    first.close()
    assert refused(open_file) == "insufficient-memory", "a stream keeps its file open"
    stream.close()
    del stream, first
    third = open_file()
    listing.close()
    del listing
    assert open_file() is not None
    del second, third
    assert world.config.budget.left == 3


def test_sockets() -> None:
    world = World(network="loopback", max_open=2)
    create = world["sockets/tcp-create-socket"].create_tcp_socket
    server = create("ipv4")
    network = world["sockets/instance-network"].instance_network()
    server.start_bind(network, Case("ipv4", {"port": 0, "address": (127, 0, 0, 1)}))
    server.finish_bind()
    server.start_listen()
    server.finish_listen()
    other = world["sockets/udp-create-socket"].create_udp_socket("ipv6")
    assert refused(create, "ipv4") == "new-socket-limit"
    port = server._held.sock.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        server.subscribe().block()
        assert refused(server.accept) == "new-socket-limit"
        assert peer.recv(1) == b"", "nobody is left waiting for one that was refused"
    del other
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        server.subscribe().block()
        accepted = server.accept()
        assert world.config.budget.left == 0
    del accepted, server
    gc.collect()  # the error that was caught holds on to where it was raised
    assert world.config.budget.left == 2


def test_lookups_and_requests() -> None:
    pytest.importorskip("httpx2")
    world = World(network="full", http=True, max_open=0)
    network = world["sockets/instance-network"].instance_network()
    look_up = world["sockets/ip-name-lookup"].resolve_addresses
    assert refused(look_up, network, "localhost") == "temporary-resolver-failure"
    assert look_up(network, "127.0.0.1") is not None, "this needs no looking up"
    types = world["http/types"]
    request = types.OutgoingRequest(types.Fields())
    request.set_authority("localhost")
    assert refused(world["http/outgoing-handler"].handle, request, None) == Case("connection-limit-reached")


def test_the_bound_must_make_sense() -> None:
    for wrong in (-1, "many", 1.5):
        with pytest.raises((TypeError, ValueError)):
            WasiConfig(max_open=wrong)  # type: ignore[arg-type]
