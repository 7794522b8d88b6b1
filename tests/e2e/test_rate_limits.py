"""Rate limits that a provider tells in its headers: a real daemon keeps to them, and asks nobody in vain."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aigen
import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import EmulatorServer, serving

from tests.e2e.running import Aigend, Warm

LIMIT = 4
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-5"}  # who tell their limits in headers, each in its own words


@pytest.fixture
def limited() -> Iterator[EmulatorServer]:
    """A provider that takes a few calls a minute and says so."""
    with serving(Emulator(EmulatorSettings(per_minute=LIMIT))) as server:
        yield server


def daemon_at(folder: Path, server: EmulatorServer, provider: str, warm: Warm) -> Aigend:
    """Return a daemon whose only provider is the limited one; nothing is tried again."""
    settings = {
        "providers": {provider: {"base_url": server.provider_url(provider), "api_key": "made-up"}},
        "retry": {"max_attempts": 1},
    }
    return Aigend(folder, settings=settings, base_url="", warm=warm)


@pytest.mark.parametrize("provider", MODELS)
def test_calls_beyond_a_told_limit_are_not_sent(tmp_path: Path, limited: EmulatorServer, warm: Warm, provider: str) -> None:
    """What can't go within the caller's patience is refused with the time to wait; the provider never has to refuse."""
    with closing(daemon_at(tmp_path / "a", limited, provider, warm)) as daemon:
        client = daemon.start().client(timeout=5.0)
        for number in range(LIMIT):
            client.complete(f"question {number}", model=MODELS[provider])
        with pytest.raises(aigen.RateLimited) as refused:
            client.complete("one too many", model=MODELS[provider])
        assert (refused.value.retry_after_s or 0) > 5
        assert client.complete("question 0", model=MODELS[provider]).cache_outcome == aigen.CacheOutcome.HIT
        assert [str(entry.state) for entry in client.ledger_entries()] == ["settled"] * LIMIT
        assert (sum(limited.emulator.requests.values()), limited.emulator.gate.refused) == (LIMIT, 0)


def test_control_without_headers_the_provider_refuses(tmp_path: Path, limited: EmulatorServer, warm: Warm) -> None:
    """A daemon that was told nothing, because it has just begun, sends the call and is refused."""
    for _ in range(LIMIT):
        limited.emulator.gate.enter()
    with closing(daemon_at(tmp_path / "a", limited, "openai", warm)) as daemon:
        with pytest.raises(aigen.RateLimited):
            daemon.start().client(timeout=5.0).complete("one too many", model=MODELS["openai"])
        assert limited.emulator.gate.refused == 1
