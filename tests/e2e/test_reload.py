"""Settings and cache change while calls are under way: nobody waits, nobody loses anything."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import aigen

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend, eventually
from tests.e2e.test_stop import asked
from tests.emulator_server import RunningEmulator

MODEL = "gpt-4o-mini"
HANGING = "[[fault:hang]] never"


def _reload(daemon: Aigend) -> float:
    """Reload and return how long it took, in seconds."""
    began = time.monotonic()
    daemon.signal(signal.SIGHUP)
    assert any(line.startswith("MONOTONIC_USEC=") for line in daemon.hear("RELOADING=1"))
    daemon.hear("READY=1")
    return time.monotonic() - began


def _setting(daemon: Aigend, key: str) -> str:
    return next(setting.value_json for setting in daemon.client().settings() if setting.key == key)


def test_reload_takes_effect_with_a_call_in_flight(daemon: Aigend, emulator: RunningEmulator):
    """Within 50 ms, while a call hangs for as long as it likes, new settings are in force; hits go on through it."""
    client, gaps = daemon.client(), []
    client.complete("warm", model=MODEL)
    assert client.complete("warm", model=MODEL).cache_outcome == "hit"
    with ThreadPoolExecutor() as pool:
        other = daemon.client()
        hanging = asked(pool, emulator, lambda: other.complete(HANGING, model=MODEL))
        daemon.write_settings({"limits": {"queue": 7}, "agents": {"helper": f"openai/{MODEL}"}, "cache": {"ttl_s": 77.0}})
        reloading = pool.submit(_reload, daemon)
        while not reloading.done():
            began = time.monotonic()
            assert client.complete("warm", model=MODEL).cache_outcome == "hit"
            gaps.append(time.monotonic() - began)
        assert reloading.result() < 0.15  # measured from outside, signals and all; the swap itself is one assignment
        assert max(gaps) < 0.1
        assert _setting(daemon, "limits.queue") == "7"
        assert client.complete("now known", agent="helper").cache_outcome == "miss"
        assert client.complete("warm", model=MODEL).cache_outcome == "hit"
        assert not hanging.done()
        other.close()
        assert isinstance(hanging.exception(), aigen.ClientClosed)


def test_clear_is_quick_with_a_call_in_flight(daemon: Aigend, emulator: RunningEmulator):
    """Clearing takes at most 50 ms while a call hangs; what it would have kept is not kept, and hits of others go on."""
    client = daemon.client()
    for number in range(20):
        client.complete(f"number {number}", model=MODEL)
    client.complete("kept", model=MODEL, namespace="other")
    with ThreadPoolExecutor() as pool:
        slow = asked(pool, emulator, lambda: daemon.client().complete("[[fault:delay_ms=500]] slow", model=MODEL))
        began = time.monotonic()
        cleared = client.clear_cache(namespace="default")
        seconds = time.monotonic() - began
        assert client.complete("kept", model=MODEL, namespace="other").cache_outcome == "hit"
        assert not slow.done()
        assert slow.result().cache_outcome == "miss"
    assert cleared.entry_count == 20
    assert seconds < 0.05
    assert client.cache_stats().entry_count == 1
    assert client.complete("number 3", model=MODEL).cache_outcome == "miss"


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
