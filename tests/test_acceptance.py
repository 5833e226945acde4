"""Guests that other people's toolchains built, driven through the public API."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import component_rt as rt
from tests.outside import guest

KITCHENS = ("kitchen_py", "kitchen_qjs", "kitchen_qjs_stub")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Sink:
    """The resource of `host-log`."""

    dropped: list[str] = []

    def __init__(self, name: str) -> None:
        self.name, self.kept = name, []

    def write(self, line: str) -> int:
        self.kept.append(line)
        return len(self.kept)

    def lines(self) -> list[str]:
        return list(self.kept)

    @staticmethod
    def merge(a: Sink, b: Sink) -> Sink:
        merged = Sink(f"{a.name}+{b.name}")
        merged.kept = a.kept + b.kept
        return merged

    def close(self) -> None:
        Sink.dropped.append(self.name)


class HostLog:
    Sink = Sink

    def __init__(self) -> None:
        self.ticks = 41

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks


class Kitchen:
    """One instance of a kitchen; QuickJS holds 64-bit integers as doubles."""

    def __init__(self, name: str, instance: rt.Instance) -> None:
        self.api = instance.exports["guests:kitchen/api"]
        self.counters = instance.exports["guests:kitchen/counters"]
        self.hello = instance.exports["hello"]
        self.is_python = name == "kitchen_py"
        self.widest = 1 << (64 if self.is_python else 53)


@pytest.fixture(scope="module", params=KITCHENS)
def kitchen(request):
    path = guest(f"kitchen/{request.param}.wasm")
    engine = rt.Engine(rt.Config(cache=False))
    linker = rt.Linker(engine)
    linker.define_wasi(rt.WasiConfig())
    linker.define("guests:kitchen/host-log", HostLog())
    component = rt.Component.from_file(engine, path)
    with rt.Store(engine) as store:
        yield Kitchen(request.param, linker.instantiate(store, component))


def test_kitchen_says_hello(kitchen):
    assert "Ada" in kitchen.hello("Ada")


@FUZZ
@given(data=st.data())
def test_kitchen_integers_travel(kitchen, data):
    half = kitchen.widest // 2
    ranges = [(0, 255), (-128, 127), (0, 65535), (-32768, 32767), (0, 2**32 - 1), (-(2**31), 2**31 - 1)]
    ranges += [(0, kitchen.widest - 1), (-half, half - 1)]
    numbers = tuple(data.draw(st.integers(*bounds)) for bounds in ranges)
    assert kitchen.api.echo_ints(*numbers) == numbers


@FUZZ
@given(single=st.floats(width=32), double=st.floats())
def test_kitchen_floats_travel(kitchen, single, double):
    for sent, got in zip((single, double), kitchen.api.echo_floats(single, double)):
        assert (
            math.isnan(got) if math.isnan(sent) else (got == sent and math.copysign(1, got) == math.copysign(1, sent))
        )


@FUZZ
@given(texts=st.lists(TEXT, max_size=6))
def test_kitchen_strings_travel(kitchen, texts):
    assert kitchen.api.echo_strings(texts) == texts
    assert kitchen.api.echo_string("".join(texts)) == "".join(texts)


@FUZZ
@given(data=st.binary(max_size=2000))
def test_kitchen_bytes_travel(kitchen, data):
    for view in (data, bytearray(data), memoryview(data)):
        assert kitchen.api.echo_bytes(view) == data


@FUZZ
@given(option=st.one_of(st.none(), st.just(rt.Some(None)), st.integers(0, 2**32 - 1).map(rt.Some)))
def test_kitchen_nested_options_travel(kitchen, option):
    assert kitchen.api.echo_option(option) == option


INT32 = st.integers(-(2**31), 2**31 - 1)


@FUZZ
@given(data=st.data())
def test_kitchen_shapes_travel(kitchen, data):
    api, floats = kitchen.api, st.floats(allow_nan=False)
    points = st.builds(api.Point, x=INT32, y=INT32)
    shape = data.draw(
        st.one_of(
            floats.map(api.Shape_Circle),
            st.tuples(floats, floats).map(api.Shape_Rect),
            st.lists(points, max_size=5).map(api.Shape_Polygon),
            TEXT.map(api.Shape_Label),
            st.just(api.Shape_Empty()),
        )
    )
    got = api.echo_shape(shape)
    assert got == shape
    assert isinstance(got, api.Shape)


@FUZZ
@given(data=st.data())
def test_kitchen_records_travel(kitchen, data):
    api = kitchen.api
    everything = api.Rights.READ | api.Rights.WRITE | api.Rights.EXEC | api.Rights.ADMIN | api.Rights.SYNC_ALL
    person = api.Person(
        name=data.draw(TEXT),
        age=data.draw(st.integers(0, 255)),
        emails=data.draw(st.lists(TEXT, max_size=3)),
        home=data.draw(st.none() | st.builds(api.Point, x=INT32, y=INT32)),
        rights=data.draw(st.sampled_from([everything, api.Rights(0), api.Rights.SYNC_ALL, api.Rights.READ])),
        favourite=data.draw(st.sampled_from(list(api.Color))),
    )
    assert api.echo_person(person) == person


def test_kitchen_results(kitchen):
    api = kitchen.api
    assert api.area(api.Shape_Rect((2.0, 3.0))) == 6.0
    with pytest.raises(rt.Err) as refused:
        api.area(api.Shape_Label("q"))
    assert refused.value.value == api.Problem_NotFound("q")
    assert api.check(2) is None
    with pytest.raises(rt.Err) as odd:
        api.check(3)
    assert odd.value.value == "3 is odd"


def test_kitchen_many_parameters_spill_to_memory(kitchen):
    assert kitchen.api.many_params(*range(1, 18), "z") == "153:z"


def test_kitchen_uses_a_resource_of_the_host(kitchen):
    Sink.dropped.clear()
    assert kitchen.api.use_log("n", ["p", "q"]) == ["p=1", "q=2", "b1", "p", "q"]
    assert Sink.dropped


def test_kitchen_resources_of_the_guest(kitchen):
    counters = kitchen.counters
    with counters.Counter(5) as one, counters.Counter(10) as two:
        assert one.add(3) == 8
        assert one.absorb(two) == 18
        assert counters.total([one, two]) == 28
    made = counters.make([1, 2, 3])
    assert [counter.value() for counter in made] == [1, 2, 3]
    for counter in made:
        counter.close()


def test_kitchen_moved_resource_is_gone(kitchen):
    if not kitchen.is_python:
        pytest.skip("QuickJS traps on an owned resource as a parameter")
    counters = kitchen.counters
    one, two = counters.Counter(1), counters.Counter(2)
    with counters.Counter.merge(one, two) as merged:
        assert merged.value() == 3
    with pytest.raises(Exception, match=r"(?i)counter"):
        one.value()


@pytest.mark.parametrize(
    "arguments",
    [
        (256, 0, 0, 0, 0, 0, 0, 0),
        (-1, 0, 0, 0, 0, 0, 0, 0),
        (0, 128, 0, 0, 0, 0, 0, 0),
        (0, 0, 0, 0, 1 << 32, 0, 0, 0),
        (0, 0, 0, 0, 0, 0, -1, 0),
        (True, 0, 0, 0, 0, 0, 0, 0),
        (1.0, 0, 0, 0, 0, 0, 0, 0),
        ("1", 0, 0, 0, 0, 0, 0, 0),
        (0,) * 7,
        (0,) * 9,
    ],
)
def test_kitchen_wrong_values_never_reach_the_guest(kitchen, arguments):
    with pytest.raises((TypeError, ValueError, OverflowError)) as refused:
        kitchen.api.echo_ints(*arguments)
    assert "echo-ints" in str(refused.value) or "echo_ints" in str(refused.value)
    assert kitchen.api.echo_string("still here") == "still here"


class CHost:
    def __init__(self) -> None:
        self.logged: list[str] = []

    def log(self, text: str) -> None:
        self.logged.append(text)

    def now(self) -> int:
        return 7


@pytest.fixture
def texts():
    path, host = guest("cabi/texts.wasm"), CHost()
    engine = rt.Engine(rt.Config(cache=False))
    linker = rt.Linker(engine)
    linker.define("guests:cabi/host", host)
    with rt.Store(engine) as store:
        exports = linker.instantiate(store, rt.Component.from_file(engine, path)).exports
        yield exports, host


def test_hand_written_guest(texts):
    exports, host = texts
    assert exports["upper"]("abc é") == "ABC é"
    assert host.logged == ["ABC é"]
    assert exports["rot"](b"\x00\xff", 2) == b"\x02\x01"
    assert exports["sum"]([1, 2**32 - 1]) == 2**32
    assert exports["split"]("a,b,,c", ",") == ["a", "b", "", "c"]
    assert exports["parse"]("-42") == -42
    with pytest.raises(rt.Err, match="not a number"):
        exports["parse"]("4x")
    assert exports["first"](b"") is None
    assert exports["first"](b"\x05") == 5


def test_post_return_frees_what_a_call_allocated(texts):
    exports, _ = texts
    for _ in range(50):
        exports["split"]("x y z" * 100, " ")
        exports["upper"]("some text")
    assert exports["live"]() == 0


def run_command(*arguments: str, stdin: bytes = b"", preopens: dict[str, rt.Dir] | None = None) -> tuple[int, str]:
    """Exit code and standard output of the C command."""
    path, output = guest("c/cmd_p2.wasm"), io.BytesIO()
    engine = rt.Engine(rt.Config(cache=False))
    linker = rt.Linker(engine)
    config = rt.WasiConfig(
        args=["cmd", *arguments], env={"A": "b"}, stdin=io.BytesIO(stdin), stdout=output, preopens=preopens or {}
    )
    linker.define_wasi(config)
    with rt.Store(engine) as store:
        instance = linker.instantiate(store, rt.Component.from_file(engine, path))
        try:
            instance.exports["wasi:cli/run"].run()
            code = 0
        except rt.GuestExit as leaving:
            code = leaving.code
        except rt.Err:
            code = 1
    return code, output.getvalue().decode()


def test_command_has_arguments_environment_and_stdin():
    code, output = run_command("hello")
    assert code == 0
    assert "arg 1: hello" in output
    assert "env A=b" in output
    assert run_command("stdin", stdin=b"a\nb\n")[1].endswith("a\nb\n2 lines\n")
    assert run_command("exit", "1")[0] == 1


def test_command_sees_only_what_it_was_given(tmp_path):
    box = tmp_path / "box"
    box.mkdir()
    (box / "in.txt").write_text("inside")
    (tmp_path / "out.txt").write_text("secret")
    (box / "link").symlink_to("../out.txt")
    writable, readonly = {"/d": rt.Dir(box, "rw")}, {"/d": rt.Dir(box, "ro")}
    assert run_command("cat", "/d/in.txt", preopens=writable)[1].endswith("inside")
    for path in ("/d/../out.txt", "/d/link", "/etc/passwd", "../out.txt", "/d/./../../out.txt"):
        code, output = run_command("cat", path, preopens=writable)
        # this guest's `wasi:cli/exit` knows success and failure only
        assert (code, "open:" in output, "secret" in output) == (1, True, False), path
    assert run_command("cat", "/d/in.txt")[0] == 1
    assert run_command("write", "/d/new.txt", "x", preopens=readonly)[0] == 1
    assert not (box / "new.txt").exists()
    assert run_command("write", "/d/new.txt", "x", preopens=writable)[0] == 0
    assert (box / "new.txt").read_text() == "x"
