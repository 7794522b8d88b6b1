"""Killed at each named place of the paid path: what the caller gets afterwards, and what the books say."""

import threading

import aigen
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.emulator_server import RunningEmulator

MODEL = "gpt-4o-mini"
OUTCOMES = {  # failpoint: charged by the provider, what the caller gets after the restart, how the attempt ended
    "before_intent": (1, "miss", "settled"),
    "after_intent": (0, "unknown", "unknown"),
    "before_settle": (1, "unknown", "unknown"),
    "after_settle": (1, "miss", "settled"),
    "before_cache_put": (1, "miss", "settled"),
    "after_cache_put": (1, "", "settled"),  # the answer may have left before: the caller has it, or finds it cached
}


def _ask(client: aigen.Client, request_id: str) -> str:
    try:
        return str(client.complete("a question", model=MODEL, request_id=request_id).cache_outcome)
    except aigen.OutcomeUnknown as unknown:
        return "unknown" if unknown.metadata["request_id"] == request_id else repr(unknown)


class _Asking(threading.Thread):
    """A caller in a thread of its own."""

    def __init__(self, client: aigen.Client, request_id: str, answers: list[str]) -> None:
        super().__init__(target=lambda: answers.append(_ask(client, request_id)))


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
    assert answers == [outcome] or (not outcome and answers[0] in ("hit", "miss"))
    entries = list(client.ledger_entries(request_id=failpoint))
    assert [str(entry.state) for entry in entries] == [state]
    assert len(emulator.charges()) == charged
    assert daemon.stop() == 0
    assert daemon.breaches(emulator.charges()) == []


def test_unknown_call_may_be_paid_for_again_knowingly(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """The id of a call that was killed stays OUTCOME_UNKNOWN; `allow_repeat` pays a second time, and both are booked."""
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
