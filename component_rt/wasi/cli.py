"""`wasi:cli`: arguments, environment, exit, standard streams and terminals."""

from __future__ import annotations

from typing import Any, ClassVar

from component_rt.wasi._values import Err
from component_rt.wasi.config import WasiConfig
from component_rt.wasi.io import InputStream, OutputStream
from component_rt.wasi.stdio import input_stream, is_terminal, output_stream
from core_rt.errors import GuestExit

__all__ = ["Environment", "Exit", "Stderr", "Stdin", "Stdout", "TerminalInput", "TerminalOutput"]


class Environment:
    """`wasi:cli/environment`."""

    def __init__(self, config: WasiConfig) -> None:
        self._config = config

    def get_environment(self) -> list[tuple[str, str]]:
        """Names and values of the variables."""
        return list(self._config.env)

    def get_arguments(self) -> list[str]:
        """The arguments, the program's name first."""
        return list(self._config.args)

    def initial_cwd(self) -> str | None:
        """The guest path that stands for `.`, if any."""
        return self._config.initial_cwd


class Exit:
    """`wasi:cli/exit`: ends the guest by raising `GuestExit`."""

    def exit(self, status: Any) -> None:
        """End with code 0 or, for an error, 1."""
        failed = isinstance(status, Err)
        raise GuestExit(int(failed))

    def exit_with_code(self, status_code: int) -> None:
        """End with a code of 0 to 255."""
        raise GuestExit(status_code)


class Stdin:
    """`wasi:cli/stdin`."""

    def __init__(self, stream: InputStream) -> None:
        self.stream = stream

    def get_stdin(self) -> InputStream:
        """The program's input: one stream, however often it is asked for."""
        return self.stream


class Stdout:
    """`wasi:cli/stdout`."""

    def __init__(self, stream: OutputStream) -> None:
        self.stream = stream

    def get_stdout(self) -> OutputStream:
        """The program's output."""
        return self.stream


class Stderr:
    """`wasi:cli/stderr`."""

    def __init__(self, stream: OutputStream) -> None:
        self.stream = stream

    def get_stderr(self) -> OutputStream:
        """Where the program complains."""
        return self.stream


class TerminalInput:
    """The resource `wasi:cli/terminal-input.terminal-input`."""


class TerminalOutput:
    """The resource `wasi:cli/terminal-output.terminal-output`."""


class TerminalInputInterface:
    """`wasi:cli/terminal-input`."""

    TerminalInput: ClassVar = TerminalInput


class TerminalOutputInterface:
    """`wasi:cli/terminal-output`."""

    TerminalOutput: ClassVar = TerminalOutput


class Terminal:
    """`wasi:cli/terminal-stdin`, `-stdout` and `-stderr`: what the handles are connected to."""

    def __init__(self, config: WasiConfig) -> None:
        self._config = config

    def get_terminal_stdin(self) -> TerminalInput | None:
        """The terminal that stdin comes from, if it does."""
        return TerminalInput() if is_terminal(self._config.stdin, 0) else None

    def get_terminal_stdout(self) -> TerminalOutput | None:
        """The terminal that stdout goes to, if it does."""
        return TerminalOutput() if is_terminal(self._config.stdout, 1) else None

    def get_terminal_stderr(self) -> TerminalOutput | None:
        """The terminal that stderr goes to, if it does."""
        return TerminalOutput() if is_terminal(self._config.stderr, 2) else None


def interfaces(config: WasiConfig) -> dict[str, object]:
    """The interfaces of this package by name."""
    terminal = Terminal(config)
    return {
        "wasi:cli/environment": Environment(config),
        "wasi:cli/exit": Exit(),
        "wasi:cli/stdin": Stdin(input_stream(config.stdin, 0)),
        "wasi:cli/stdout": Stdout(output_stream(config.stdout, 1, "stdout")),
        "wasi:cli/stderr": Stderr(output_stream(config.stderr, 2, "stderr")),
        "wasi:cli/terminal-input": TerminalInputInterface(),
        "wasi:cli/terminal-output": TerminalOutputInterface(),
        "wasi:cli/terminal-stdin": terminal,
        "wasi:cli/terminal-stdout": terminal,
        "wasi:cli/terminal-stderr": terminal,
    }
