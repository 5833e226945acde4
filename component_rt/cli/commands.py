"""The commands and their options; what they do is in the modules they import when they run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from component_rt.cli.parameters import DIRECTORY, DURATION, SIZE, VARIABLE
from component_rt.cli.report import reporting

if TYPE_CHECKING:
    from component_rt.wasi.config import Dir, WasiConfig

__all__ = ["cli"]

_WASM = click.Path(exists=True, dir_okay=False, path_type=Path)


@attrs.frozen
class Grants:
    """What the options give to a guest and how far it may go."""

    dirs: Sequence[tuple[str, Dir]] = ()
    env: Sequence[tuple[str, str]] = ()
    inherit_env: bool = False
    network: str = "none"
    http: Sequence[str] = ()
    fuel: int | None = None
    timeout: float | None = None
    max_memory: float | None = None
    max_open: int = 1000
    cache: bool = True
    optimize: bool = False
    unknown_imports_trap: bool = False

    def wasi(self, args: Sequence[str], **streams: Any) -> WasiConfig:
        """The configuration for a program with these arguments."""
        import os

        from component_rt.wasi.config import WasiConfig

        env = dict(os.environ) if self.inherit_env else {}
        env.update(self.env)
        http: Any = True if "*" in self.http else list(self.http)
        return WasiConfig(
            args=args,
            env=env,
            preopens=dict(self.dirs),
            network=self.network,
            http=http,
            max_open=self.max_open,
            **streams,
        )


def _granting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `Grants`, collected into the parameter `grants`."""
    import functools

    names = [field.name for field in attrs.fields(Grants)]

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        grants = Grants(**{name: options.pop(name) for name in names})
        return command(grants=grants, **options)

    decorators = [
        click.option("--dir", "dirs", type=DIRECTORY, multiple=True, help="Give the guest a directory."),
        click.option("--env", type=VARIABLE, multiple=True, help="Set a variable of the guest's environment."),
        click.option("--inherit-env", is_flag=True, help="Pass on the whole environment."),
        click.option(
            "--network",
            type=click.Choice(["none", "loopback", "full"]),
            default="none",
            show_default=True,
            help="Addresses that the guest's sockets may use.",
        ),
        click.option("--http", multiple=True, metavar="HOST", help="Allow HTTP requests to a host ('*': to any)."),
        click.option("--fuel", type=click.IntRange(min=0), help="Stop the guest after this many instructions."),
        click.option("--timeout", type=DURATION, help="Stop the guest after this time, for example 2s."),
        click.option("--max-memory", type=SIZE, help="The most memory that the guest may use, for example 64MiB."),
        click.option(
            "--max-open",
            type=click.IntRange(min=0),
            default=1000,
            show_default=True,
            help="Files, sockets and HTTP requests that may be open at once.",
        ),
        click.option("--cache/--no-cache", default=True, help="Keep compiled code on disk.", show_default=True),
        click.option("-O", "--optimize", is_flag=True, help="Wait for optimised code before running."),
        click.option(
            "--unknown-imports-trap", is_flag=True, help="Let a guest run that imports other things than WASI."
        ),
    ]
    for decorate in reversed(decorators):
        wrapped = decorate(wrapped)
    return wrapped


def _show_version(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    import importlib.metadata

    try:
        version = importlib.metadata.version("component-rt")
    except importlib.metadata.PackageNotFoundError:
        version = "(not installed: run from its sources)"
    click.echo(f"component-rt {version}")
    context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Run WebAssembly components and core modules.

    A guest gets nothing unless told: no files, no variables, no network.

    \b
    component-rt run tool.wasm --its-own --options
    component-rt run --dir ./data::/data::ro --env LANG=C tool.wasm
    component-rt run --invoke 'greet("Ada", [1, 2])' library.wasm
    component-rt serve --addr 127.0.0.1:8080 web.wasm
    component-rt inspect anything.wasm
    """


@cli.command(context_settings={"allow_interspersed_args": False})
@click.argument("file", type=_WASM)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--invoke",
    metavar="'NAME(ARGS)'",
    help="Call an export and print its result: 'greet(\"Ada\")', 'pkg:a/iface#name(1)'; values in WAVE.",
)
@click.option("--argv0", metavar="NAME", help="The program's own name [default: the file's].")
@_granting
def run(file: Path, args: tuple[str, ...], invoke: str | None, argv0: str | None, grants: Grants) -> None:
    """Run a program: a component that exports wasi:cli/run, or a core module with _start.

    Options of the guest come after FILE. The exit code is the guest's; 134 means that it trapped, 124 that it was
    stopped by --timeout.

    \b
    component-rt run tool.wasm --its-own --options
    component-rt run --dir ./data::/data::ro --dir /tmp --env LANG=C tool.wasm
    component-rt run --network loopback --http api.example.org --timeout 10s tool.wasm
    component-rt run --invoke 'api#find({name: "Ada", tags: [a, b]}, some(3))' library.wasm
    """
    from component_rt.cli.run import run_file

    with reporting():
        code = run_file(file, args, grants, invoke, argv0)
    sys.exit(code)


def _number(name: str, help: str) -> Callable[..., Any]:
    """An option that is a number from 1 on, 1 where it is not given."""
    return click.option(name, type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help=help)


@cli.command()
@click.argument("file", type=_WASM)
@click.option("--addr", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Where to listen.")
@_number("--reuse", "Requests that an instance handles, one after the other, before it is replaced.")
@_number("--concurrent", "With --reuse: requests that an instance of WASI 0.3 handles at the same time.")
@_number("--workers", "Processes that serve; one uses little more than one core.")
@click.option("--max-requests", type=click.IntRange(min=1), default=100, show_default=True, help="Handled at once.")
@click.option("--max-body", type=SIZE, help="The largest body of a request, for example 10MiB [default: any].")
@click.option("--max-headers", type=SIZE, default="64KiB", show_default=True, help="All headers of a request together.")
@click.option(
    "--answer-timeout", type=DURATION, default="60s", show_default=True, help="For a guest to begin its response."
)
@click.option(
    "--idle-timeout", type=DURATION, default="60s", show_default=True, help="For a connection without a request."
)
@click.option("--grace", type=DURATION, default="30s", show_default=True, help="For requests under way when stopped.")
@click.option("--access-log", is_flag=True, help="Print a line for each request.")
@_granting
def serve(file: Path, grants: Grants, **options: Any) -> None:
    """Serve HTTP with a component that exports wasi:http/handler (WASI 0.3) or wasi:http/incoming-handler (0.2).

    Each request gets an instance of its own, unless --reuse lets an instance serve several. --timeout, --fuel and
    --max-memory are for each request. The first SIGTERM or Ctrl-C lets requests under way end, the second does not.

    \b
    component-rt serve web.wasm
    component-rt serve --addr :8000 --reuse 1000 --timeout 10s --max-memory 64MiB --max-body 1MiB web.wasm
    """
    from component_rt.cli.serve import Service, serve_file

    with reporting():
        serve_file(file, grants, Service(**options))


@cli.command()
@click.argument("files", type=_WASM, nargs=-1, required=True)
def compile(files: tuple[Path, ...]) -> None:
    """Compile ahead of time, into the cache that later runs use."""
    from component_rt.cli.check import compile_files

    with reporting():
        compile_files(files)


@cli.command()
@click.argument("files", type=_WASM, nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of what was found.")
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Check that files are valid modules or components; exits with 1 if any is not."""
    from component_rt.cli.check import validate_files

    with reporting():
        sys.exit(validate_files(files, as_json))


@cli.command()
@click.argument("file", type=_WASM)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(file: Path, as_json: bool) -> None:
    """Show what a module or component imports and exports."""
    from component_rt.cli.inspect import inspect_file

    with reporting():
        inspect_file(file, as_json)


@cli.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--binary", "-b", type=click.Path(dir_okay=False, path_type=Path), help="Write the package as a binary.")
def wit(path: Path, binary: Path | None) -> None:
    """Print the WIT of a component, or of a WIT file or directory after resolving it."""
    from component_rt.cli.interfaces import print_wit

    with reporting():
        print_wit(path, binary)


@cli.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--world", "-w", help="The world to bind, if there are several.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file.")
def bindgen(path: Path, world: str | None, output: Path | None) -> None:
    """Write typed Python bindings for a component or a WIT world."""
    from component_rt.cli.interfaces import write_bindings

    with reporting():
        write_bindings(path, world, output)
