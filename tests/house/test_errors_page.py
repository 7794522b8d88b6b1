"""docs/errors.md says what daemon, contract and client do."""

import re
from collections.abc import Iterator

import pytest
from aigen import errors
from aigend.errors import DomainError, Reason
from aigend.rpc import status

from tests.house import tree

PAGE = (tree.ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \| `(\w+)` \| ([a-z ]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ROWS = {reason: (code, exception, retry) for reason, code, exception, retry, _, _ in ROW.findall(PAGE)}
RETRIES = {"no", "after the delay", "caller", "client"}
ERRORS_PARAGRAPH = re.compile(r"// Errors:(?:.*\n\s*//)*.*")


def test_every_reason_has_its_row() -> None:
    """The table holds exactly the daemon's reasons, in their order."""
    assert list(ROWS) == [reason.value for reason in Reason]


@pytest.mark.parametrize("reason", list(Reason))
def test_row_is_what_daemon_and_client_do(reason: Reason) -> None:
    """The row's code is the one that the daemon sends, and its exception the one that the client makes of it."""
    code, exception, retry = ROWS[reason.value]
    error = errors.from_status(status.status_proto(DomainError(reason, "Why.")))
    assert (error.code, type(error).__name__) == (code, exception)
    assert retry in RETRIES


def test_what_clients_retry_by_themselves_is_draining_alone() -> None:
    """Of the reasons sent as UNAVAILABLE, all but those marked `client` tell gRPC's own retries to keep away."""
    unavailable = [reason for reason in Reason if ROWS[reason.value][0] == "UNAVAILABLE"]
    kept_away = {reason for reason in unavailable if status.PUSHBACK in status.trailers(DomainError(reason, "Why."))}
    assert {reason.value for reason in unavailable} - {reason.value for reason in kept_away} == {
        reason for reason, (_, _, retry) in ROWS.items() if retry == "client"
    }


def test_the_contract_names_no_other_reason() -> None:
    """Every reason that an RPC's comment names stands in the table."""
    named = set()
    for path in (tree.ROOT / "proto").rglob("*.proto"):
        for paragraph in ERRORS_PARAGRAPH.findall(path.read_text(encoding="utf-8")):
            named |= set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|\bOVERLOADED\b|\bDRAINING\b", paragraph))
    assert "DAEMON_FAULT" in named
    assert named - ROWS.keys() <= {"ONLY_IF_CACHED"}  # a mode, named beside NOT_CACHED


def drawn_tree() -> Iterator[tuple[int, str]]:
    """Yield depth and name of each exception drawn on the page."""
    drawing = re.search(r"```text\n(AigenError\n.*?)```", PAGE, re.DOTALL)
    assert drawing is not None
    for line in drawing[1].splitlines():
        name = re.search(r"\w+", line)
        assert name is not None
        yield name.start() // 4, name[0]


def real_tree(kind: type, depth: int = 0) -> Iterator[tuple[int, str]]:
    """Yield depth and name of each exception that the client has."""
    yield depth, kind.__name__
    for below in kind.__subclasses__():
        yield from real_tree(below, depth + 1)


def test_the_drawn_tree_is_the_real_one() -> None:
    """The page draws each exception of the client below its parent."""
    assert list(drawn_tree()) == list(real_tree(errors.AigenError))
