"""Exit codes: one number for each class of failure."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import aigen
import pytest
from aigen.v1 import usage_pb2
from aigenctl.__main__ import MISSING_EXTRA, main
from aigenctl.exits import Exit, exit_code

from tests.cli.scripted_daemon import ScriptedError

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

REASONS = [
    ("INVALID_ARGUMENT", "INVALID_REQUEST", Exit.REFUSED),
    ("INVALID_ARGUMENT", "UNKNOWN_MODEL", Exit.REFUSED),
    ("PERMISSION_DENIED", "MODEL_NOT_ALLOWED", Exit.REFUSED),
    ("FAILED_PRECONDITION", "CAPABILITY_MISSING", Exit.REFUSED),
    ("UNAUTHENTICATED", "UNAUTHENTICATED", Exit.REFUSED),
    ("NOT_FOUND", "NOT_CACHED", Exit.NOT_FOUND),
    ("RESOURCE_EXHAUSTED", "BUDGET_EXCEEDED", Exit.LIMIT_REACHED),
    ("RESOURCE_EXHAUSTED", "OVERLOADED", Exit.LIMIT_REACHED),
    ("RESOURCE_EXHAUSTED", "RATE_LIMITED", Exit.LIMIT_REACHED),
    ("UNAVAILABLE", "PROVIDER_UNAVAILABLE", Exit.PROVIDER_ERROR),
    ("DEADLINE_EXCEEDED", "PROVIDER_TIMEOUT", Exit.PROVIDER_ERROR),
    ("FAILED_PRECONDITION", "PROVIDER_REFUSED", Exit.PROVIDER_ERROR),
    ("ABORTED", "OUTCOME_UNKNOWN", Exit.OUTCOME_UNKNOWN),
    ("ABORTED", "REPLY_GONE", Exit.OUTCOME_UNKNOWN),
    ("RESOURCE_EXHAUSTED", "STORAGE_FULL", Exit.DAEMON_FAULT),
    ("INTERNAL", "DAEMON_FAULT", Exit.DAEMON_FAULT),
]


@pytest.mark.parametrize(("code", "reason", "expected"), REASONS, ids=[reason for _, reason, _ in REASONS])
def test_reason_becomes_exit_code(daemon, run, code, reason, expected):
    """A reason of the daemon ends the command with the exit code of its class, and is named on standard error."""
    daemon.answers["Complete"] = ScriptedError(code, reason, "so it is", field="prompt")
    result = run("complete", "Hello")
    assert result.exit_code == expected
    assert result.stderr == f"aigenctl: {reason}: so it is\n"
    assert result.stdout == ""


def test_json_errors_are_one_line_of_json(daemon, run):
    """With --json a failure is one JSON object on standard error with reason, facts and exit code."""
    daemon.answers["GetStats"] = ScriptedError("INVALID_ARGUMENT", "INVALID_REQUEST", "time_zone is bad", field="time_zone")
    result = run("stats", "--json")
    error = json.loads(result.stderr)["error"]
    assert (error["class"], error["reason"], error["exit_code"]) == ("InvalidRequest", "INVALID_REQUEST", 4)
    assert error["metadata"] == {"field": "time_zone"}
    assert result.stdout == ""


def test_deadline_is_124(daemon, run, short_directory):
    """A daemon that does not answer within --timeout ends the command with 124, as `timeout` does."""
    release = threading.Event()
    daemon.answers["Complete"] = lambda _message: release.wait(10)
    result = run("complete", "Hello", "--timeout", "0.2")
    release.set()
    assert result.exit_code == Exit.DEADLINE_EXCEEDED


def test_no_daemon_is_69(short_directory):
    """Where no daemon answers, the message names the path and how to start one."""
    missing = short_directory / "none.sock"
    command = [sys.executable, "-m", "aigenctl", "--socket", str(missing), "status"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == Exit.DAEMON_UNAVAILABLE
    assert str(missing) in result.stderr
    assert "aigend serve" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["stats", "--by", "colour"],
        ["stats", "--period", "today", "--since", "7d"],
        ["stats", "--csv", "--json"],
        ["stats", "--since", "yesterday"],
        ["stats", "--label", "team"],
        ["cache", "list", "--older-than", "7 days"],
        ["cache", "list", "--limit", "-1"],
        ["complete", "Hello", "--mode", "sometimes"],
    ],
    ids=" ".join,
)
def test_usage_errors_are_2(daemon, run, arguments):
    """What can't be understood ends with 2, names the option and what is allowed, and asks the daemon nothing."""
    result = run(*arguments)
    assert result.exit_code == Exit.USAGE
    assert "rror" in result.stderr
    assert daemon.asked == {}


def every_error(kind=aigen.AigenError):
    """Yield every class of the exception tree."""
    for child in kind.__subclasses__():
        yield child
        yield from every_error(child)


def test_every_class_of_the_tree_has_its_code():
    """Each exception class maps to the code of its nearest row, and a new one counts as a fault of the daemon."""
    codes = {kind.__name__: exit_code(kind("x")) for kind in every_error()}
    assert codes["BudgetExceeded"] is Exit.LIMIT_REACHED
    assert codes["UnknownModel"] is Exit.REFUSED
    assert codes["NotFound"] is Exit.NOT_FOUND
    assert codes["ClientClosed"] is Exit.DAEMON_FAULT
    assert exit_code(aigen.AigenError("new")) is Exit.DAEMON_FAULT


def test_page_lists_every_exit_code():
    """docs/cli.md has one row for each exit code and no other."""
    rows = [
        line.split("|")[1:3]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("| ") and line.split("|")[1].strip().isdigit()
    ]
    assert {int(number): name.strip(" `") for number, name in rows} == {int(code): code.name for code in Exit}


def run_main(monkeypatch, *arguments):
    """Run the entry point in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["aigenctl", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_missing_extra_is_named(monkeypatch, capsys, missing):
    """Without its extra the entry point says which one to install and exits 2; control: with it the version is printed."""
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("aigenctl", missing)]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, missing, None)
        assert run_main(patch) == MISSING_EXTRA
    said = f"aigenctl: {missing} is missing, which the extra cli brings: pip install '.[cli]' in a checkout"
    assert capsys.readouterr().err.startswith(said)
    assert run_main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("aigenctl ")


def test_other_missing_modules_are_not_blamed_on_the_extra(monkeypatch):
    """A module that is missing for another reason is shown as the defect that it is."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "aigenctl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "csv", None)
    with pytest.raises(ModuleNotFoundError, match="csv"):
        main()


def test_a_reader_that_leaves_is_no_error(daemon):
    """Where the reader of a pipe goes away, the command ends quietly."""
    entries = [{"id": str(number), "provider": "p" * 500} for number in range(1_000)]
    daemon.answers["ListLedgerEntries"] = usage_pb2.ListLedgerEntriesResponse(entries=entries)
    command = [sys.executable, "-m", "aigenctl", "--socket", str(daemon.socket), "ledger", "list", "--limit", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(15) == Exit.OK


def test_known_amounts_of_an_error_are_dollars_too(daemon, run):
    """Facts about money in a failure stand in dollars beside nano-dollars; null is left to what is not known."""
    facts = {"limit_usd_nanos": "1000000", "needed_usd_nanos": "4919550", "left_usd_nanos": "-20", "spent_usd_nanos": "?"}
    daemon.answers["Complete"] = ScriptedError("RESOURCE_EXHAUSTED", "BUDGET_EXCEEDED", "spent", **facts)
    told = json.loads(run("complete", "Hello", "--json").stderr)["error"]["metadata"]
    shown = {name: told[name] for name in ("limit_usd", "needed_usd", "left_usd", "spent_usd")}
    assert shown == {"limit_usd": "0.001000000", "needed_usd": "0.004919550", "left_usd": "-0.000000020", "spent_usd": None}
