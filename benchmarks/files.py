"""`python -m benchmarks.files [--json]`: what a guest moves through files and standard streams, and how soon the command line runs.

Beside each row stands plain Python that makes the same system calls: what is left when the guest is taken away. The guest is
`benchmarks/guest/files.c`. The two take turns, and the best turn of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

import component_rt as rt

Figures = dict[str, float]

GUEST = Path(__file__).resolve().parent / "guest" / "files.wasm"
SIZE = 64 << 20
ROUNDS = 5
OPENS = 2000


def _mib(ours: Callable[[], object], theirs: Callable[[], object], size: int = SIZE) -> Figures:
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for index, call in enumerate((ours, theirs)):
            begun = time.perf_counter()
            call()
            best[index] = min(best[index], time.perf_counter() - begun)
    mib = size / (1 << 20)
    return {"ours_mib_per_s": mib / best[0], "plain_mib_per_s": mib / best[1], "share": best[1] / best[0]}


def _read(path: Path, piece: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, piece):
        pass
    os.close(fd)


def _write(path: Path, piece: int) -> None:
    data = bytes(piece)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for _ in range(SIZE // piece):
        os.write(fd, data)
    os.close(fd)


@contextmanager
def _pipes() -> Iterator[tuple[int, int]]:
    """The ends for a copier: one thread fills the first pipe with `SIZE` bytes, another empties the second."""
    ours_in, source = os.pipe()
    sink, ours_out = os.pipe()

    def fill() -> None:
        data = bytes(1 << 16)
        for _ in range(SIZE >> 16):
            os.write(source, data)
        os.close(source)

    def empty() -> None:
        while os.read(sink, 1 << 16):
            pass
        os.close(sink)

    threads = [threading.Thread(target=fill), threading.Thread(target=empty)]
    for thread in threads:
        thread.start()
    yield ours_in, ours_out
    os.close(ours_out)
    os.close(ours_in)
    for thread in threads:
        thread.join()


def _copy_plainly(piece: int) -> None:
    with _pipes() as (taken, given):
        while data := os.read(taken, piece):
            os.write(given, data)


class Sync:
    """The guest in a synchronous store."""

    def __init__(self, folder: Path) -> None:
        self.engine = rt.Engine()
        self.component = rt.Component.from_file(self.engine, GUEST)
        self.folder = folder
        self.store = rt.Store(self.engine)
        self.call: Any = self.instance().exports

    def instance(self, **streams: Any) -> Any:
        linker = rt.Linker(self.engine)
        linker.define_wasi(rt.WasiConfig(preopens={"/": rt.Dir(self.folder, "rw")}, **streams))
        return linker.instantiate(self.store, self.component)

    def copy(self, piece: int) -> None:
        with _pipes() as (taken, given), open(taken, "rb", closefd=False) as i, open(given, "wb", closefd=False) as o:
            assert self.instance(stdin=i, stdout=o).exports.copy_stdin_to_stdout(piece) == SIZE


def _files(folder: Path) -> dict[str, Figures]:
    data, made = folder / "data", folder / "made"
    data.write_bytes(bytes(SIZE))
    guest = Sync(folder)
    call = guest.call
    found = {}
    for piece in (4096, 65536):
        kib, pieces = f"{piece >> 10} KiB", SIZE // piece
        found[f"read a file by a stream, {kib}"] = _mib(
            partial(call.read_streamed, "data", piece), partial(_read, data, piece)
        )
        found[f"read a file at offsets, {kib}"] = _mib(
            partial(call.read_at_offsets, "data", piece), partial(_read, data, piece)
        )
        found[f"write a file by a stream, {kib}"] = _mib(
            partial(call.write_streamed, "made", piece, pieces), partial(_write, made, piece)
        )
        found[f"write a file at offsets, {kib}"] = _mib(
            partial(call.write_at_offsets, "made", piece, pieces), partial(_write, made, piece)
        )
    found["copy stdin to stdout through pipes, 64 KiB"] = _mib(lambda: guest.copy(65536), lambda: _copy_plainly(65536))

    def opens() -> None:
        for _ in range(OPENS):
            os.close(os.open("data", os.O_RDONLY, dir_fd=handle))

    handle = os.open(folder, os.O_RDONLY)
    rates = _mib(lambda: call.open_and_close("data", OPENS), opens, OPENS << 20)
    os.close(handle)
    found["open and close a file, per second"] = {
        "ours": rates["ours_mib_per_s"],
        "plain": rates["plain_mib_per_s"],
        "share": rates["share"],
    }
    return found


def _under_trio(folder: Path) -> dict[str, Figures]:
    """The same guest in a trio store: where nothing has to be waited for, little more is paid."""
    found: dict[str, Figures] = {}

    async def main() -> None:
        guest = Sync(folder)
        linker = rt.Linker(guest.engine)
        linker.define_wasi(rt.WasiConfig(preopens={"/": rt.Dir(folder, "rw")}))
        async with rt.open_store(guest.engine) as store:
            call = (await linker.instantiate_async(store, guest.component)).exports
            rows: dict[str, tuple[Callable[[], Awaitable[Any]], Callable[[], Any]]] = {
                "read a file by a stream, 64 KiB, trio store": (
                    lambda: call.read_streamed("data", 65536),
                    lambda: guest.call.read_streamed("data", 65536),
                ),
            }
            for name, (ours, theirs) in rows.items():
                best = [float("inf")] * 2
                for _ in range(ROUNDS):
                    begun = time.perf_counter()
                    await ours()
                    best[0] = min(best[0], time.perf_counter() - begun)
                    begun = time.perf_counter()
                    theirs()
                    best[1] = min(best[1], time.perf_counter() - begun)
                mib = SIZE / (1 << 20)
                found[name] = {
                    "ours_mib_per_s": mib / best[0],
                    "sync_store_mib_per_s": mib / best[1],
                    "share": best[1] / best[0],
                }

    trio.run(main)
    return found


def _start_up() -> dict[str, Figures]:
    """CPU milliseconds of whole processes, the best of some; compiled code comes from the cache."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def best(*arguments: str) -> float:
        times = []
        for _ in range(10):
            process = subprocess.Popen([sys.executable, *arguments], env=env, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise RuntimeError(f"{arguments} failed")
            times.append(usage.ru_utime + usage.ru_stime)
        return min(times) * 1e3

    cli = ("-m", "component_rt")
    invoke = ("--invoke", 'open-and-close("files.c", 1)')
    return {
        "start-up": {
            "python_ms": best("-c", "pass"),
            "import_component_rt_ms": best("-c", "import component_rt"),
            "version_ms": best(*cli, "--version"),
            "help_ms": best(*cli, "--help"),
            "run_a_component_ms": best(*cli, "run", "--dir", f"{GUEST.parent}::/", *invoke, str(GUEST)),
        }
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.files", description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = {**_files(folder), **_under_trio(folder)}
    rows |= _start_up()
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for label, figures in rows.items():
        print(f"{label:48s} " + "  ".join(f"{key} {value:.4g}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
