"""What a conversation costs when the provider keeps its beginning: a real daemon, the real SDK, an emulated Anthropic."""

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import aigen
import pytest

from tests.e2e.running import Aigend, Warm
from tests.emulator_server import RunningEmulator

pytestmark = pytest.mark.not_on_floor
MODEL = "claude-sonnet-4-5"
TURNS = 10
STABLE, ASKED, ANSWERED = 20_000, 100, 50  # tokens of the system prompt, of each question, of each answer
BYTES_A_TOKEN = 4  # as the emulated provider counts; between two blocks it counts one byte more
INPUT, OUTPUT, READ, WRITE = 3_000, 15_000, 300, 3_750  # nano-dollars a token: 3, 15, 0.30 and 3.75 USD a million


@pytest.fixture
def daemon(tmp_path: Path, emulator: RunningEmulator, warm: Warm) -> Iterator[Aigend]:
    """A daemon whose provider is the emulated Anthropic; two services differ in what they decide."""
    address = emulator.provider_url(f"anthropic-{tmp_path.name}")  # a prompt cache of its own
    settings = {
        "providers": {"anthropic": {"base_url": address, "api_key_env": "E2E_KEY"}},
        "prompt_caching": {"decision": "always", "ttl_s": 300},
        "services": {
            "without": {"prompt_caching": {"enabled": False}},
            "sighted": {"prompt_caching": {"decision": "second_sight"}},
        },
    }
    with closing(Aigend(tmp_path / "a", settings=settings, warm=warm)) as running:
        yield running.start()


def converse(client: aigen.Client, *, service: str) -> list[aigen.Completion]:
    """Hold a conversation of ten turns under a stable system prompt and return all answers."""
    system, messages, answers = f"{service} ".ljust(STABLE * BYTES_A_TOKEN, "s"), [], []
    gap = 0
    for turn in range(TURNS):
        size = ASKED * BYTES_A_TOKEN - 1 + gap
        messages.append(aigen.Message("user", f"[[answer:tokens={ANSWERED}]] turn {turn} ".ljust(size, "q")))
        answers.append(client.complete(messages, system=system, model=MODEL, service=service, max_output_tokens=200))
        messages.append(aigen.Message("assistant", answers[-1].text))
        gap = ANSWERED * BYTES_A_TOKEN - 1 - len(answers[-1].text)  # the next question makes up for a byte more or less
    return answers


def frames(turn: int) -> int:
    """Tokens that the provider bills beside the texts: 4 a message, the system prompt among them, and 3; never cached."""
    return 3 + 4 * (2 * turn)


def spent(answers: list[aigen.Completion]) -> int:
    """Return what all answers cost, in nano-dollars."""
    return sum(answer.cost_usd_nanos or 0 for answer in answers)


def test_ten_turns_cost_a_quarter_of_what_they_would(daemon: Aigend):
    """Ten turns over 20,000 stable tokens cost what is calculated by hand, to the nano-dollar, and under 25 % of the plain way."""
    client = daemon.client()
    plain, cached = converse(client, service="without"), converse(client, service="with")

    # Each turn sends the stable prefix, all questions so far, and all answers before it.
    sent = [STABLE + ASKED * turn + ANSWERED * (turn - 1) for turn in range(1, TURNS + 1)]
    assert sent[0] == 20_100
    assert sent[-1] == 21_450
    without = sum((tokens + frames(turn)) * INPUT + ANSWERED * OUTPUT for turn, tokens in enumerate(sent, 1))
    # Turn 1 writes all; each later one reads what the one before sent, and writes its answer and the new question.
    first = 20_100 * WRITE + frames(1) * INPUT + 50 * OUTPUT
    later = [sent[turn - 2] * READ + 150 * WRITE + frames(turn) * INPUT + 50 * OUTPUT for turn in range(2, TURNS + 1)]
    assert without == 207_750 * 3_000 + (10 * 3 + 8 * 55) * 3_000 + 500 * 15_000 == 632_160_000
    assert first + sum(later) == 20_100 * 3_750 + 186_300 * 300 + 9 * 150 * 3_750 + 470 * 3_000 + 500 * 15_000 == 145_237_500

    assert {answer.usage.output_tokens for answer in plain + cached} == {ANSWERED}
    assert spent(plain) == without
    assert [answer.cost_usd_nanos for answer in cached] == [first, *later]
    assert spent(cached) <= 0.25 * spent(plain)
    assert {answer.cost_basis for answer in cached} == {aigen.CostBasis.PRICED}

    saved = sum(answer.saved_usd_nanos or 0 for answer in cached)
    assert saved == without - spent(cached)
    assert cached[0].saved_usd_nanos == -20_100 * (WRITE - INPUT)
    assert all(answer.saved_usd_nanos is None for answer in plain)
    (saving,) = client.stats(period="all").totals.savings
    assert (saving.cause, saving.saved_usd_nanos) == ("prompt_cache", saved)
    assert all(answer.warnings == () for answer in plain + cached)


def test_second_sight_writes_from_the_second_turn_on(daemon: Aigend):
    """Unasked, the first turn pays no premium, the second writes all, and later ones read what the one before sent."""
    answers = converse(daemon.client(), service="sighted")
    found = [(use.cache_read_tokens, use.cache_write_5m_tokens) for use in (answer.usage for answer in answers)]
    assert found[:3] == [(0, 0), (0, STABLE + 2 * ASKED + ANSWERED), (STABLE + 2 * ASKED + ANSWERED, ASKED + ANSWERED)]
    assert all(read == sum(before) and written == 150 for before, (read, written) in pairwise(found[1:]))


def test_a_prefix_below_the_minimum_is_told_and_costs_no_premium(daemon: Aigend):
    """What is shorter than the model's 1,024 tokens is not marked, and the response says so."""
    answer = daemon.client().complete("short", system="s" * 400, model=MODEL, prompt_caching=aigen.PromptCaching(enabled=True))
    assert answer.warnings == ("prefix of about 101 tokens is below the model's minimum of 1024: not cached",)
    assert (answer.usage.cache_read_tokens, answer.usage.cache_write_5m_tokens) == (0, 0)


def test_marks_of_the_caller_and_an_hour_are_placed(daemon: Aigend):
    """A part that the caller marked for an hour is written for an hour, and nothing else is."""
    document = aigen.Part("d" * 8_000, prompt_cache_mark_s=3_600)
    answers = [
        daemon.client().complete([aigen.Message("user", [document, aigen.Part(f"question {number}")])], model=MODEL)
        for number in range(2)
    ]
    found = [(use.cache_read_tokens, use.cache_write_5m_tokens, use.cache_write_1h_tokens) for use in (a.usage for a in answers)]
    assert found == [(0, 0, 2_000), (2_000, 0, 0)]
