"""A program that prints a key: bounded in time and output, without a shell."""

import os
import time

import pytest
from aigend.config.key_command import CommandFailed, printed

ENVIRON = {"PATH": os.environ["PATH"], "SECRET": "from-the-environment"}


def run(*command: str, limit_bytes: int = 100, timeout_s: float = 10.0) -> bytes:
    """Return what a command prints."""
    return printed(command, ENVIRON, limit_bytes=limit_bytes, timeout_s=timeout_s)


def test_output_is_returned_and_words_are_no_shell() -> None:
    """Arguments reach the program as they are; it sees the daemon's variables and no input."""
    assert run("printf", "%s", "$SECRET; echo x") == b"$SECRET; echo x"
    assert run("sh", "-c", "cat; printf %s $SECRET") == b"from-the-environment"


def test_what_it_says_on_standard_error_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    """A program that talks of the key there does not write it into the log."""
    assert run("sh", "-c", "echo the-key; echo about-the-key >&2") == b"the-key\n"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60",
        "echo key; sleep 60",
        "exec >&-; sleep 60",
        "sleep 60 & echo key",
    ],
)
def test_one_that_takes_too_long_is_ended(script: str) -> None:
    """Neither a slow program nor one that leaves somebody behind holds up the start."""
    began = time.monotonic()
    with pytest.raises(CommandFailed, match="took longer"):
        run("sh", "-c", script, timeout_s=0.1)
    assert time.monotonic() - began < 5


def test_too_much_output_is_cut_off() -> None:
    """A program that prints for ever is ended one byte above the limit."""
    assert len(run("yes", limit_bytes=1_000)) == 1_001


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("sh", "-c", "echo key; exit 4"), "status 4"),
        (("sh", "-c", "kill -9 $$"), "status -9"),
        (("no-such-program-1",), "No such file"),
        (("/",), "Permission denied"),
        (("nul\0",), "ValueError"),
    ],
)
def test_one_that_fails_says_how(command: tuple[str, ...], told: str) -> None:
    """What was printed before a failure does not count and is not shown."""
    with pytest.raises(CommandFailed, match=told) as caught:
        run(*command)
    assert "key" not in str(caught.value)
