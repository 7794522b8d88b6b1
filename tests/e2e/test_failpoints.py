"""Killed at each named place of the paid path: what the caller gets afterwards, and what the books say."""

import pytest

import aigen
from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend
from tests.emulator_server import RunningEmulator

MODEL = "gpt-4o-mini"
OUTCOMES = {  # failpoint: charged by the provider, what the caller gets after the restart, how the attempt ended
    "before_intent": (1, "miss", "settled"),
    "after_intent": (0, "unknown", "unknown"),
    "before_settle": (1, "unknown", "unknown"),
    "after_settle": (1, "miss", "settled"),
    "before_cache_put": (1, "miss", "settled"),
    "after_cache_put": (1, "", "settled"),
}


def _ask(client: aigen.Client, request_id: str) -> str:
    try:
        return str(client.complete("a question", model=MODEL, request_id=request_id).cache_outcome)
    except aigen.OutcomeUnknown as unknown:
        assert unknown.metadata["request_id"] == request_id
        return "unknown"


@pytest.mark.parametrize("failpoint", list(OUTCOMES))
def test_kill_at(make_daemon: MakeDaemon, emulator: RunningEmulator, failpoint: str):
    """One caller and its retries pay at most once, and the ledger agrees with the provider."""
    charged, outcome, state = OUTCOMES[failpoint]
    daemon = make_daemon(environ={"AIGEND_TEST": "1"}).start(AIGEND_FAILPOINT=f"{failpoint}:kill")
    client = daemon.client()
    answers: list[str] = []
    asking = _Asking(client, failpoint, answers)
    asking.start()
    assert daemon.wait() == -9
    assert daemon.breaches(emulator.charges()) == []
    daemon.start()
    asking.join()
    assert answers[0] in (outcome, "hit" if not outcome else outcome, "miss")
    if outcome:
        assert answers == [outcome]
    entries = list(client.ledger_entries(request_id=failpoint))
    assert [str(entry.state) for entry in entries] == [state]
    assert len(emulator.charges()) == charged
    assert daemon.stop() == 0
    assert daemon.breaches(emulator.charges()) == []


def test_unknown_call_may_be_paid_for_again_knowingly(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """After a kill with the answer under way the id stays OUTCOME_UNKNOWN; `allow_repeat` pays a second time, and both are booked."""
    daemon = make_daemon(environ={"AIGEND_TEST": "1"}).start(AIGEND_FAILPOINT="before_settle:kill")
    answers: list[str] = []
    asking = _Asking(daemon.client(), "again", answers)
    asking.start()
    daemon.wait()
    client = daemon.start().client()
    asking.join()
    assert (answers, _ask(client, "again")) == (["unknown"], "unknown")
    repeated = client.complete("a question", model=MODEL, request_id="again", allow_repeat=True)
    assert (repeated.cache_outcome, repeated.attempt_count) == ("miss", 1)
    assert sorted(str(entry.state) for entry in client.ledger_entries(request_id="again")) == ["settled", "unknown"]
    assert [charge["attempt"] for charge in emulator.charges()] == [1, 2]
    daemon.stop()
    assert daemon.breaches(emulator.charges()) == []


def test_failpoints_mean_nothing_outside_tests(make_daemon: MakeDaemon):
    """Without AIGEND_TEST=1 the variable is ignored, whatever it holds."""
    daemon = make_daemon().start(AIGEND_FAILPOINT="before_intent:kill")
    assert daemon.client().complete("a question", model=MODEL).cache_outcome == "miss"


def test_failpoint_that_does_not_exist_is_refused(make_daemon: MakeDaemon):
    """A misspelt name would let a test pass that kills nothing."""
    daemon = make_daemon(environ={"AIGEND_TEST": "1"})
    assert daemon.start(ready=False, AIGEND_FAILPOINT="before_lunch:kill").wait() == 78
    assert "AIGEND_FAILPOINT is 'before_lunch:kill'; allowed: one of before_intent, " in daemon.log()


class _Asking:
    """A caller in a thread of its own."""

    def __init__(self, client: aigen.Client, request_id: str, answers: list[str]) -> None:
        import threading

        self._thread = threading.Thread(target=lambda: answers.append(_ask(client, request_id)))
        self.start, self.join = self._thread.start, self._thread.join
