"""Calls that share a long prefix and come together: one writes it to the provider's prompt cache, the others read it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import aigen
import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import serving

from tests.e2e.running import Aigend, Warm

pytestmark = pytest.mark.not_on_floor
STABLE = 20_000  # tokens of the prefix that all calls share
BYTES_A_TOKEN = 4
CALLS = 5
FIRST_TOKEN_MS, ANSWER_MS = 60.0, 2.0  # and so many a token
MARKED, UNMARKED = "anthropic/claude-sonnet-4-5", "openai/gpt-4o"
Start = Callable[..., aigen.Client]


@pytest.fixture
def start(tmp_path: Path, warm: Warm) -> Iterator[Start]:
    """Return what starts a daemon with settings for the gate, on an emulator whose first token takes a while."""
    with ExitStack() as stack:

        def started(**prompt_caching: object) -> aigen.Client:
            settings = EmulatorSettings(prompt_cache=True, first_token_ms=FIRST_TOKEN_MS, token_ms=ANSWER_MS)
            address = stack.enter_context(serving(Emulator(settings))).base_url.removesuffix("/v1")
            daemon = Aigend(
                tmp_path / "a",
                settings={
                    "prompt_caching": {"decision": "always", **prompt_caching},
                    "providers": {
                        "anthropic": {"base_url": f"{address}/p/anthropic", "api_key_env": "E2E_KEY"},
                        "openai": {"base_url": f"{address}/p/openai/v1", "api_key_env": "E2E_KEY"},
                    },
                },
                warm=warm,
            )
            return stack.enter_context(closing(daemon)).start().client()

        yield started


def together(client: aigen.Client, model: str, *, name: str = "question") -> list[tuple[int, int]]:
    """Ask five questions over one prefix at once; return the tokens that each has read and written."""
    system = "s" * (STABLE * BYTES_A_TOKEN)
    asked = [
        aigen.CompletionRequest(f"{name} {number} [[answer:tokens=100]]", system=system, model=model) for number in range(CALLS)
    ]
    answers = client.complete_many(asked)
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    return [(answer.usage.cache_read_tokens, answer.usage.cache_write_5m_tokens) for answer in answers]  # type: ignore[union-attr]


def test_five_calls_at_once_write_once_and_read_four_times(start: Start) -> None:
    """One of five calls pays for the prefix, and the others read it; later ones read it too."""
    client = start()
    told = together(client, MARKED)
    assert sorted(read // 1_000 for read, _ in told) == [0, 20, 20, 20, 20]
    assert sorted(written // 1_000 for _, written in told) == [0, 0, 0, 0, 20]
    assert {read // 1_000 for read, _ in together(client, MARKED, name="later")} == {20}


def test_control_without_the_gate_all_five_write(start: Start) -> None:
    """Control: sent at once, each call pays for the prefix, because none can read what is still being written."""
    told = together(start(gate_wait_s=0), MARKED)
    assert [(read, written // 1_000) for read, written in told] == [(0, 20)] * CALLS


def test_what_a_provider_keeps_by_itself_is_followed_too(start: Start) -> None:
    """Where nothing is marked the first call is followed as well: the others read what it left behind."""
    assert sorted(read // 1_000 for read, _ in together(start(), UNMARKED)) == [0, 19, 19, 19, 19]


def test_control_without_the_gate_none_of_five_reads(start: Start) -> None:
    """Control: sent at once, nobody reads anything."""
    assert [read for read, _ in together(start(gate_wait_s=0), UNMARKED)] == [0] * CALLS


def test_the_first_token_is_enough(start: Start) -> None:
    """A follower leaves while the leader's answer still comes: it waits for less than that whole answer."""
    client = start()
    system = "s" * (STABLE * BYTES_A_TOKEN)
    asked = [
        aigen.CompletionRequest(f"question {number} [[answer:tokens=400]]", system=system, model=MARKED) for number in range(2)
    ]
    told = [answer for answer in client.complete_many(asked) if isinstance(answer, aigen.Completion)]
    leader, follower = sorted(told, key=lambda answer: answer.usage.cache_read_tokens)
    assert (leader.usage.cache_read_tokens, follower.usage.cache_read_tokens // 1_000) == (0, 20)
    assert follower.timings.queue_us < leader.timings.provider_us
