"""Settings and cache change while calls are under way: nobody waits, nobody loses anything."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import aigen

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend, eventually
from tests.e2e.test_stop import asked
from tests.emulator_server import RunningEmulator

MODEL = "gpt-4o-mini"
LONG_CALL = "[[fault:delay_ms=30000]] slow"
ROUNDS = 3
LIMIT_S = 0.05

T = TypeVar("T")


def _reload(daemon: Aigend) -> None:
    """Reload and return once it is over."""
    daemon.signal(signal.SIGHUP)
    assert any(line.startswith("MONOTONIC_USEC=") for line in daemon.hear("RELOADING=1"))
    daemon.hear("READY=1")


def _reload_seconds(daemon: Aigend) -> list[float]:
    """Return how long each reload took by the daemon's own clock, as its log says."""
    events = [json.loads(line) for line in daemon.log().splitlines()]
    return [event["duration_ms"] / 1e3 for event in events if event["event"] == "reloaded"]


def _setting(daemon: Aigend, key: str) -> str:
    return next(setting.value_json for setting in daemon.client().settings() if setting.key == key)


@contextmanager
def _long_call(daemon: Aigend, emulator: RunningEmulator) -> Iterator[Future[aigen.Completion]]:
    """Keep a call of thirty seconds in flight; its caller leaves at the end instead of waiting for it."""
    with ThreadPoolExecutor() as pool:
        caller = daemon.client(timeout=60)
        call = asked(pool, emulator, lambda: caller.complete(LONG_CALL, model=MODEL))
        try:
            yield call
            assert not call.done()
        finally:
            caller.close()
        assert isinstance(call.exception(), aigen.ClientClosed)


class _Hits:
    """Asks one cached question over and over beside what the test does, and remembers when each answer came."""

    def __init__(self, daemon: Aigend, **question: str) -> None:
        self._client, self._question = daemon.client(), {"model": MODEL} | question
        self._client.complete("warm", **self._question)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._ends: list[float] = []
        self.outcomes: set[str] = set()

    def __enter__(self) -> "_Hits":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def during(self, action: Callable[[], T]) -> tuple[T, float]:
        """Return what an action gave and the longest time without an answer around it, in seconds."""
        eventually(lambda: self._ends)
        before = len(self._ends)
        given = action()
        after = len(self._ends)
        eventually(lambda: len(self._ends) > after)
        ends = self._ends[before - 1 : after + 1]
        return given, max(end - start for start, end in pairwise(ends))

    def _ask(self) -> None:
        while not self._stop.is_set():
            self.outcomes.add(str(self._client.complete("warm", **self._question).cache_outcome))
            self._ends.append(time.monotonic())


def test_reload_takes_effect_with_a_call_in_flight(daemon: Aigend, emulator: RunningEmulator):
    """Within 50 ms, while a call of 30 s is in flight, new settings are in force; hits go on through it."""
    client = daemon.client()
    with _Hits(daemon) as hits, _long_call(daemon, emulator):
        for queue in range(7, 7 + ROUNDS):
            daemon.write_settings({"limits": {"queue": queue}, "agents": {"helper": f"openai/{MODEL}"}, "cache": {"ttl_s": 77.0}})
            _, longest_gap = hits.during(lambda: _reload(daemon))
            assert longest_gap < 0.1
            assert _setting(daemon, "limits.queue") == str(queue)
        eventually(lambda: len(_reload_seconds(daemon)) == ROUNDS)
        assert max(_reload_seconds(daemon)) <= LIMIT_S
        assert client.complete("now known", agent="helper").cache_outcome == "miss"
    assert hits.outcomes == {"hit"}


def test_clear_is_quick_with_a_call_in_flight(daemon: Aigend, emulator: RunningEmulator):
    """A clear takes at most 50 ms while a call of 30 s is in flight, and hits of others go on through it."""
    client = daemon.client()

    def clear() -> float:
        began = time.monotonic()
        assert client.clear_cache(namespace="default").entry_count == 20
        return time.monotonic() - began

    with _Hits(daemon, namespace="other") as hits, _long_call(daemon, emulator):
        for _ in range(ROUNDS):
            for number in range(20):
                assert client.complete(f"number {number}", model=MODEL).cache_outcome == "miss"
            seconds, longest_gap = hits.during(clear)
            assert seconds <= LIMIT_S
            assert longest_gap < 0.1
    assert hits.outcomes == {"hit"}
    assert client.cache_stats().entry_count == 1


def test_answer_that_was_asked_for_before_a_clear_is_not_kept(daemon: Aigend, emulator: RunningEmulator):
    """The caller of a call in flight gets its answer across a clear, and the cache does not keep it."""
    client = daemon.client()
    with ThreadPoolExecutor() as pool:
        slow = asked(pool, emulator, lambda: daemon.client().complete("[[fault:delay_ms=300,times=1]] slow", model=MODEL))
        client.clear_cache()
        assert not slow.done()
        assert slow.result().cache_outcome == "miss"
    assert client.cache_stats().entry_count == 0
    assert client.complete("[[fault:delay_ms=300,times=1]] slow", model=MODEL).cache_outcome == "miss"


def test_file_that_can_not_be_used_changes_nothing(daemon: Aigend):
    """A typo, broken YAML or a missing price file is logged with its place, and the daemon serves on as before."""
    client = daemon.client()
    client.complete("warm", model=MODEL)
    good = daemon.config.read_text()
    for spoilt, told in (
        ("limits: {queu: 3}\n", "limits.queue"),
        ("limits: [\n", "aigend.yaml:2"),
        ("limits: {queue: -1}\n", "limits.queue is -1"),
        (f"{good}prices: {{file: {daemon.folder}/none.yaml}}\n", "prices.file is "),
    ):
        written = len(daemon.log())
        daemon.config.write_text(spoilt)
        _reload(daemon)
        eventually(lambda at=written: "reload_refused" in daemon.log()[at:])
        assert told in daemon.log()[written:]
        assert _setting(daemon, "limits.queue") == "1000"
    assert client.complete("warm", model=MODEL).cache_outcome == "hit"
    assert client.complete("new", model=MODEL).cache_outcome == "miss"


def test_provider_taken_away_refuses_and_comes_back(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """Providers follow the settings; an answer that was cached is served without its provider."""
    daemon = make_daemon().start()
    client = daemon.client()
    client.complete("warm", model=MODEL)
    daemon.write_settings({"providers": {"openai": {"base_url": "https://nowhere.invalid/v1", "api_key_env": "NO_SUCH_VARIABLE"}}})
    _reload(daemon)
    daemon.write_settings({})
    _reload(daemon)
    assert client.complete("new again", model=MODEL).cache_outcome == "miss"
