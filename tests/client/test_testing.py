"""The fake daemon that users test with: scripted, counted, without a provider."""

from pathlib import Path

import aigen
import pytest
from aigen import testing
from aigen.testing import FakeDaemon


def test_it_makes_and_removes_its_own_socket():
    """Without a path the daemon has a socket of its own that is gone afterwards."""
    with FakeDaemon() as daemon, aigen.Client(daemon.socket) as client:
        assert client.complete("hi").text == "echo: hi"
    assert not Path(daemon.socket).parent.exists()


def test_a_script_is_used_up_in_order(daemon: FakeDaemon, client: aigen.Client):
    """Answers wait for completions, failures take whatever comes; afterwards questions are echoed."""
    daemon.answer("one").fail("NOT_FOUND")
    assert client.cache_stats().hit_count == 0
    assert client.complete("a").text == "one"
    with pytest.raises(aigen.NotFound):
        client.cache_stats()
    assert client.complete([aigen.Message("user", ["b", "c"])]).text == "echo: bc"
    assert [call.method for call in daemon.calls] == ["GetCacheStats", "Complete", "GetCacheStats", "Complete"]


def test_a_method_that_does_not_exist_is_refused(daemon: FakeDaemon, client: aigen.Client, monkeypatch: pytest.MonkeyPatch):
    """An RPC that the contract does not have is unimplemented, as with a daemon older than the client."""
    monkeypatch.setattr(testing, "_REQUESTS", {})
    with pytest.raises(aigen.PreconditionFailed):
        client.status()


def test_waiting_for_calls_ends(daemon: FakeDaemon):
    """Waiting for calls that do not come ends with an error that counts them."""
    with pytest.raises(TimeoutError, match="0 of 1 calls"):
        daemon.wait_for_calls(1, timeout=0.01)
