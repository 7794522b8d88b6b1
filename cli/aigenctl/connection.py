"""How a command reaches the daemon, and the one place where a failed call becomes a message and an exit code."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aigen
import typer

from aigenctl.exits import Exit, exit_code
from aigenctl.machine import as_json_line
from aigenctl.render import harmless

CONNECT_TIMEOUT_S = 1.0  # a person at a terminal learns soon that no daemon is there


@contextmanager
def daemon(ctx: typer.Context, socket: Path | None, *, as_json: bool) -> Iterator[aigen.Client]:
    """Give a client for the daemon; an error of aigen inside ends the command with the exit code of its class."""
    chosen = socket or ctx.find_object(Path)
    try:
        with aigen.Client(chosen, connect_timeout=CONNECT_TIMEOUT_S) as client:
            yield client
        sys.stdout.flush()
    except aigen.AigenError as error:
        raise failed(error, as_json=as_json) from error
    except BrokenPipeError:
        _forget_output()
        raise typer.Exit(Exit.OK) from None


def failed(error: aigen.AigenError, *, as_json: bool) -> typer.Exit:
    """Say on standard error what failed and return the exit."""
    code = exit_code(error)
    text = as_json_line({"error": _facts(error, code)}) if as_json else f"aigenctl: {harmless(str(error))}"
    sys.stderr.write(text + "\n")
    return typer.Exit(code)


def _facts(error: aigen.AigenError, code: Exit) -> dict[str, object]:
    return {
        "class": type(error).__name__,
        "reason": error.reason,
        "message": error.text,
        "metadata": error.metadata,
        "retry_after_s": error.retry_after_s,
        "request_id": error.request_id,
        "exit_code": int(code),
    }


def _forget_output() -> None:
    """Keep the interpreter from failing on the closed pipe once more when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost, unless `--yes` was given.

    Raises:
        typer.Exit: USAGE where nobody can be asked, DECLINED where the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        sys.stderr.write("aigenctl: this asks first, and standard input is not a terminal; pass --yes, or --dry-run to look\n")
        raise typer.Exit(Exit.USAGE)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        sys.stderr.write("Nothing was changed.\n")
        raise typer.Exit(Exit.DECLINED)
