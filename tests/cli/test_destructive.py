"""Commands that take something away: they ask, they can be looked at first, and they never guess."""

import io
import json

import pytest
import typer
from aigen.v1 import cache_pb2, daemon_pb2
from aigenctl.connection import confirm
from aigenctl.exits import Exit


@pytest.fixture
def filled(daemon):
    """A daemon with twelve entries to lose and a call under way."""
    daemon.answers["ClearCache"] = cache_pb2.ClearCacheResponse(entry_count=12, size_bytes=3_400_000)
    daemon.answers["GetStatus"] = daemon_pb2.GetStatusResponse(in_flight_count=2)
    daemon.answers["Drain"] = daemon_pb2.DrainResponse(in_flight_count=2)
    return daemon


def removed(daemon):
    """Return the requests that removed something."""
    return [request for request in daemon.asked["ClearCache"] if not request.validate_only]


@pytest.mark.parametrize("command", [["cache", "clear"], ["drain"]], ids=" ".join)
def test_without_a_terminal_nothing_is_guessed(filled, run, command):
    """Where nobody can be asked, the command is refused and says what to pass; control: with --yes it runs."""
    refused = run(*command)
    assert refused.exit_code == Exit.USAGE
    assert "--yes" in refused.stderr
    assert not removed(filled)
    assert not filled.asked["Drain"]
    assert run(*command, "--yes").exit_code == 0
    assert len(removed(filled) + filled.asked["Drain"]) == 1


@pytest.mark.parametrize(
    ("typed", "code"), [("y\n", Exit.OK), ("n\n", Exit.DECLINED), ("\n", Exit.DECLINED)], ids=["yes", "no", "enter"]
)
def test_a_person_is_asked(filled, at_terminal, typed, code):
    """At a terminal the question names how much would go, and only a yes removes it."""
    ended, shown = at_terminal("cache", "clear", typed=typed)
    assert ended == code
    assert "Remove 12 entries (3.4 MB) from the cache? [y/N]" in shown
    assert len(removed(filled)) == (1 if code is Exit.OK else 0)


def test_dry_run_removes_nothing(filled, run):
    """--dry-run says what would go, needs no yes, and sends the same filters."""
    result = run("cache", "clear", "--dry-run", "--agent", "claude", "--older-than", "7d", "--key-prefix", "ab", "--namespace", "n")
    assert result.stdout == "Would remove 12 entries (3.4 MB).\n"
    asked = filled.asked["ClearCache"][0]
    assert asked.validate_only
    assert asked.filter == cache_pb2.CacheFilter(agent="claude", older_than={"seconds": 604_800}, key_prefix="ab", namespace="n")
    assert not removed(filled)


def test_filters_reach_the_removal(filled, run):
    """What is removed is what the filters say."""
    result = run("cache", "clear", "--yes", "--provider", "openai", "--model", "gpt-4o", "--phase", "2", "--service", "s", "--json")
    assert removed(filled)[0].filter == cache_pb2.CacheFilter(provider="openai", model="gpt-4o", phase="2", service="s")
    assert json.loads(result.stdout) == {"dry_run": False, "entry_count": 12, "size_bytes": 3_400_000}


def test_drain_waits_as_told(filled, run):
    """The longest wait reaches the daemon, and its answer is shown."""
    result = run("drain", "--yes", "--wait", "1.5")
    assert result.stdout == "The daemon waits for 2 provider calls and stops.\n"
    assert filled.asked["Drain"][0].timeout.ToTimedelta().total_seconds() == 1.5


def test_drain_can_be_looked_at_first(filled, run):
    """--dry-run of drain asks for the state only."""
    assert json.loads(run("drain", "--dry-run", "--json").stdout) == {"dry_run": True, "in_flight_count": 2}
    assert not filled.asked["Drain"]


@pytest.mark.parametrize(("typed", "code"), [("Yes\n", None), ("", Exit.DECLINED)], ids=["yes", "end-of-file"])
def test_only_a_yes_is_a_yes(monkeypatch, capsys, typed, code):
    """Asked at a terminal, an end of file is a no."""
    stdin = io.StringIO(typed)
    stdin.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", stdin)
    if code is None:
        confirm("Sure?", yes=False)
    else:
        with pytest.raises(typer.Exit) as ended:
            confirm("Sure?", yes=False)
        assert ended.value.exit_code == code
    assert "Sure? [y/N]" in capsys.readouterr().err
