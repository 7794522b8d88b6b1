"""How a daemon stops: calls inside end, nothing is lost, and callers hardly notice a restart."""

import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import aigen
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend, eventually
from tests.emulator_server import RunningEmulator

MODEL = "gpt-4o-mini"


def asked(pool: ThreadPoolExecutor, emulator: RunningEmulator, call: Callable[[], aigen.Completion]) -> "Future[aigen.Completion]":
    """Make a call in a thread and return once the provider has it."""
    before = emulator.requests()
    future = pool.submit(call)
    eventually(lambda: emulator.requests() > before)
    return future


def states(daemon: Aigend) -> dict[str, int]:
    """Return how many attempts are in which state, read from the file."""
    connection = sqlite3.connect(f"file:{daemon.ledger}?mode=ro", uri=True)
    try:
        return dict(connection.execute("SELECT state, count(*) FROM attempt GROUP BY state"))
    finally:
        connection.close()


def test_call_under_way_is_answered_before_the_end(daemon: Aigend, emulator: RunningEmulator):
    """SIGTERM lets a call inside end, refuses new ones, exits 0 and removes the socket."""
    with ThreadPoolExecutor() as pool:
        inside = asked(pool, emulator, lambda: daemon.client().complete("[[fault:delay_ms=400]] slow", model=MODEL))
        daemon.signal(signal.SIGTERM)
        daemon.hear("STOPPING=1")
        with pytest.raises(aigen.DaemonUnavailable):
            daemon.client(timeout=0.3).complete("late", model=MODEL)
        assert inside.result().cache_outcome == "miss"
    assert daemon.wait() == 0
    assert not daemon.socket.exists()
    assert states(daemon) == {"settled": 1}
    assert daemon.breaches(emulator.charges()) == []


def test_second_signal_ends_at_once(daemon: Aigend, emulator: RunningEmulator):
    """With a call inside that never ends a second SIGTERM ends the daemon in a moment; the call is booked as unknown."""
    with ThreadPoolExecutor() as pool:
        inside = asked(pool, emulator, lambda: daemon.client(restart_timeout=0.2).complete("[[fault:hang]] never", model=MODEL))
        daemon.signal(signal.SIGTERM)
        daemon.hear("STOPPING=1")
        daemon.signal(signal.SIGTERM)
        eventually(lambda: daemon.ended, within_s=2)
        assert daemon.wait() == 0
        assert isinstance(inside.exception(), aigen.OutcomeUnknown)
    assert states(daemon) == {"unknown": 1}
    assert daemon.breaches(emulator.charges()) == []


def test_patience_of_a_drain_ends(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """What is still under way after drain.provider_timeout_s is booked as unknown, and its caller is told so."""
    daemon = make_daemon({"drain": {"provider_timeout_s": 0.3, "admin_timeout_s": 0.2}}).start()
    with ThreadPoolExecutor() as pool:
        inside = asked(pool, emulator, lambda: daemon.client(restart_timeout=0.2).complete("[[fault:hang]] never", model=MODEL))
        assert daemon.stop() == 0
        assert isinstance(inside.exception(), aigen.OutcomeUnknown)
    assert states(daemon) == {"unknown": 1}
    client = daemon.start().client()
    totals = client.stats(period="all").totals
    assert (totals.unknown_count, totals.cost_usd_nanos) == (1, 0)
    assert totals.unknown_cost_usd_nanos > 0


def test_call_that_waits_for_a_slot_is_free_when_the_patience_ends(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """Nothing of a call that was never sent is booked; its client asks the next daemon by itself."""
    daemon = make_daemon({"limits": {"per_provider": 1}, "drain": {"provider_timeout_s": 0.3}}).start()
    with ThreadPoolExecutor() as pool:
        stuck = asked(pool, emulator, lambda: daemon.client().complete("[[fault:hang,times=1]] never", model=MODEL))
        waiting = pool.submit(daemon.client().complete, "waits", model=MODEL)
        client = daemon.client()
        eventually(lambda: client.status().queued_count == 1)
        assert daemon.stop() == 0
        daemon.start()
        assert waiting.result().cache_outcome == "miss"
        assert isinstance(stuck.exception(), aigen.OutcomeUnknown)
    assert daemon.stop() == 0
    assert states(daemon) == {"settled": 1, "unknown": 1}
    assert daemon.breaches(emulator.charges()) == []


def test_drain_by_call_stops_the_daemon(daemon: Aigend, emulator: RunningEmulator):
    """Drain says how many provider calls are under way, and ends the daemon after them."""
    with ThreadPoolExecutor() as pool:
        inside = asked(pool, emulator, lambda: daemon.client().complete("[[fault:delay_ms=300]] slow", model=MODEL))
        assert daemon.client().drain(wait=5) == 1
        assert inside.result().text
    assert daemon.wait() == 0


class Crowd:
    """200 calls of 8 callers, each with an id of its own."""

    def __init__(self, daemon: Aigend) -> None:
        self.half = threading.Event()
        self.ends: Counter[str] = Counter()
        self.surprises: list[str] = []
        self._daemon = daemon
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(8)
        clients = [daemon.client(timeout=60) for _ in range(8)]
        self._calls = [self._pool.submit(self._ask, clients[number % 8], number) for number in range(200)]

    def wait(self) -> None:
        """Return when all calls have ended."""
        for call in self._calls:
            call.result()
        self._pool.shutdown()

    def _ask(self, client: aigen.Client, number: int) -> None:
        try:
            end = str(
                client.complete(f"[[fault:delay_ms=10]] question {number}", model=MODEL, request_id=f"crowd-{number}").cache_outcome
            )
        except aigen.OutcomeUnknown:
            end = "unknown"
        except aigen.AigenError as error:
            end = "failed"
            self.surprises.append(f"{number}: {error!r}")
        with self._lock:
            self.ends[end] += 1
            if self.ends.total() == 60:
                self.half.set()


@pytest.mark.timeout(60)
def test_no_call_fails_across_a_restart(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """200 calls across SIGTERM and a new daemon: each is answered and paid for once."""
    daemon = make_daemon({"limits": {"per_provider": 8}}).start()
    crowd = Crowd(daemon)
    assert crowd.half.wait(20)
    assert daemon.stop() == 0
    daemon.start()
    crowd.wait()
    assert (crowd.surprises, dict(crowd.ends)) == ([], {"miss": 200})
    assert Counter(charge["request_id"] for charge in emulator.charges()) == {f"crowd-{number}": 1 for number in range(200)}
    assert daemon.stop() == 0
    assert daemon.breaches(emulator.charges()) == []


@pytest.mark.timeout(60)
def test_no_call_is_paid_twice_across_a_kill(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """200 calls across kill -9: none is paid twice; one that was under way may end in OutcomeUnknown, none in anything else."""
    daemon = make_daemon({"limits": {"per_provider": 8}}).start()
    crowd = Crowd(daemon)
    assert crowd.half.wait(20)
    daemon.kill()
    daemon.start()
    crowd.wait()
    assert crowd.surprises == []
    assert crowd.ends.keys() <= {"miss", "unknown"}
    assert crowd.ends["unknown"] <= 8
    assert max(Counter(charge["request_id"] for charge in emulator.charges()).values()) == 1
    assert daemon.stop() == 0
    assert daemon.breaches(emulator.charges()) == []
