"""wasi:cli, clocks and random: what is told, what is replaced, what is granted by default."""

from __future__ import annotations

import datetime
import os
import time
from typing import Any

import pytest
import trio

from component_rt.values import Case, Err, Ok
from component_rt.wasi import VERSION, WasiConfig, cli, clocks, interfaces, p3, random
from core_rt.errors import GuestExit, Trap


def test_every_interface_of_wasi_0_2_is_there() -> None:
    assert {name.rpartition("@")[2] for name in interfaces()} == {VERSION, p3.VERSION}
    names = {name.partition("@")[0] for name in interfaces() if name.endswith(f"@{VERSION}")}
    wanted = """
        wasi:cli/environment wasi:cli/exit wasi:cli/stdin wasi:cli/stdout wasi:cli/stderr wasi:cli/terminal-input
        wasi:cli/terminal-output wasi:cli/terminal-stdin wasi:cli/terminal-stdout wasi:cli/terminal-stderr
        wasi:clocks/monotonic-clock wasi:clocks/timezone wasi:clocks/wall-clock wasi:filesystem/preopens
        wasi:filesystem/types wasi:http/outgoing-handler wasi:http/types wasi:io/error wasi:io/poll wasi:io/streams
        wasi:random/insecure wasi:random/insecure-seed wasi:random/random wasi:sockets/instance-network
        wasi:sockets/ip-name-lookup wasi:sockets/network wasi:sockets/tcp wasi:sockets/tcp-create-socket
        wasi:sockets/udp wasi:sockets/udp-create-socket
    """
    assert names == set(wanted.split())


def test_a_guest_gets_nothing_by_default() -> None:
    found: Any = cli.interfaces(WasiConfig())
    environment = found["wasi:cli/environment"]
    assert environment.get_arguments() == environment.get_environment() == []
    assert environment.initial_cwd() is None
    for handle in ("stdin", "stdout", "stderr"):
        assert getattr(found[f"wasi:cli/terminal-{handle}"], f"get_terminal_{handle}")() is None


def test_arguments_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WasiConfig(args=["a", "b c"], env={"K": "v=w"}, initial_cwd="/d")
    environment = cli.Environment(config)
    assert environment.get_arguments() == ["a", "b c"]
    assert environment.get_environment() == [("K", "v=w")]
    assert environment.initial_cwd() == "/d"
    monkeypatch.setenv("ONLY_HERE", "x")
    assert ("ONLY_HERE", "x") in cli.Environment(WasiConfig(env="inherit")).get_environment()
    # Bytes that are no UTF-8 cannot reach a guest as they are.
    assert WasiConfig(args=["a\udcff"]).args == ("a\ufffd",)


def test_exit() -> None:
    for status, code in ((Ok(), 0), (Err(), 1)):
        with pytest.raises(GuestExit) as caught:
            cli.Exit().exit(status)
        assert caught.value.code == code
    with pytest.raises(GuestExit) as caught:
        cli.Exit().exit_with_code(77)
    assert caught.value.code == 77


def test_terminals() -> None:
    leader, follower = os.openpty()
    with os.fdopen(follower, "wb", buffering=0) as terminal:
        found: Any = cli.interfaces(WasiConfig(stdin=terminal, stdout=terminal, stderr=b"".join))
        assert found["wasi:cli/terminal-stdin"].get_terminal_stdin() is not None
        assert found["wasi:cli/terminal-stdout"].get_terminal_stdout() is not None
        assert found["wasi:cli/terminal-stderr"].get_terminal_stderr() is None
    os.close(leader)


def test_clocks_can_be_replaced() -> None:
    now = [1_500_000_002]
    found: Any = clocks.interfaces(WasiConfig(wall_clock=lambda: now[0], monotonic_clock=lambda: now[0]))
    wall, monotonic = found["wasi:clocks/wall-clock"], found["wasi:clocks/monotonic-clock"]
    assert wall.now() == {"seconds": 1, "nanoseconds": 500_000_002}
    assert monotonic.now() == now[0]
    timer = monotonic.subscribe_duration(10)
    assert not timer.ready() and not monotonic.subscribe_instant(now[0] + 1).ready()
    now[0] += 10
    assert timer.ready()
    timer.block()
    now[0] = -1
    with pytest.raises(Trap):
        monotonic.now()
    assert wall.now() == {"seconds": 0, "nanoseconds": 0}


def test_clocks_of_the_host() -> None:
    found: Any = clocks.interfaces(WasiConfig())
    assert abs(found["wasi:clocks/wall-clock"].now()["seconds"] - time.time()) < 5
    assert found["wasi:clocks/wall-clock"].resolution()["seconds"] == 0
    clock = found["wasi:clocks/monotonic-clock"]
    assert 0 < clock.resolution() <= 10**9
    before = clock.now()
    clock.subscribe_duration(5_000_000).block()
    assert clock.now() - before >= 5_000_000
    assert clock.subscribe_instant(0).ready()
    assert not clock.subscribe_duration((1 << 64) - 1).ready()

    async def main() -> None:
        with trio.fail_after(5):
            await clock.subscribe_duration(5_000_000).block.awaited()
        with trio.move_on_after(0.01) as scope:
            await clock.subscribe_duration((1 << 64) - 1).block.awaited()
        assert scope.cancelled_caught

    trio.run(main)


def test_time_zones() -> None:
    when = {"seconds": 1_700_000_000, "nanoseconds": 0}
    assert clocks.Timezone(WasiConfig()).display(when)["name"] == "UTC"
    zone = datetime.timezone(datetime.timedelta(hours=-4), "EDT")
    shown = clocks.Timezone(WasiConfig(timezone=zone))
    assert shown.utc_offset(when) == -4 * 3600
    assert shown.display(when) == {"utc_offset": -14400, "name": "EDT", "in_daylight_saving_time": False}
    assert shown.utc_offset({"seconds": (1 << 64) - 1, "nanoseconds": 0}) == 0
    assert -86400 < clocks.Timezone(WasiConfig(timezone="local")).utc_offset(when) < 86400


def test_randomness() -> None:
    found: Any = random.interfaces(WasiConfig(insecure_seed=7))
    again: Any = random.interfaces(WasiConfig(insecure_seed=7))
    secure, insecure, seed = (found[f"wasi:random/{name}"] for name in ("random", "insecure", "insecure-seed"))
    assert len(secure.get_random_bytes(100)) == 100 and secure.get_random_bytes(16) != secure.get_random_bytes(16)
    assert 0 <= secure.get_random_u64() < 1 << 64
    assert insecure.get_insecure_random_bytes(9) == again["wasi:random/insecure"].get_insecure_random_bytes(9)
    assert insecure.get_insecure_random_u64() == again["wasi:random/insecure"].get_insecure_random_u64()
    assert seed.insecure_seed() == seed.insecure_seed() == again["wasi:random/insecure-seed"].insecure_seed()
    fixed: Any = random.interfaces(WasiConfig(random_bytes=bytes))
    assert fixed["wasi:random/random"].get_random_u64() == 0
    for call in (secure.get_random_bytes, insecure.get_insecure_random_bytes):
        with pytest.raises(Trap, match="random bytes"):
            call(1 << 60)


def test_cases_are_read_by_label() -> None:
    from component_rt.wasi._values import enum_name, field, flag_names, split_case

    assert split_case(Case("DNS-error", 1)) == ("dns-error", 1) and split_case("no_change") == ("no-change", None)
    assert enum_name("no_entry") == "no-entry"
    assert flag_names(None) == frozenset() and flag_names("read") == {"read"}
    assert field({"a": 1}, "a") == 1
