"""What the headers of providers' answers say about rate limits."""

from collections.abc import AsyncIterator

import pytest
from aigend.providers import rate_headers
from aigend.providers.rate_headers import duration_s, hearing_rates, rate_facts, report_rates
from aigend.rate_facts import RateFact, RateFacts

from tests.daemon.providers.conformance import ADAPTERS, Bench
from tests.emulator_server import RunningEmulator

DATE = ("date", "Sat, 21 Nov 2026 12:00:00 GMT")
TOLD = {"openai", "openai-responses", "anthropic"}  # whose servers send such headers


def facts_of(*headers: tuple[str, str], status: int = 200) -> RateFacts | None:
    """Return what headers say."""
    return rate_facts(status, [(name.encode(), value.encode()) for name, value in headers])


def test_openai_headers() -> None:
    """Limits, what is left, and durations to the reset."""
    facts = facts_of(
        ("x-ratelimit-limit-requests", "5000"),
        ("x-ratelimit-remaining-requests", "4999"),
        ("X-RateLimit-Reset-Requests", "12ms"),
        ("x-ratelimit-limit-tokens", "160000"),
        ("x-ratelimit-remaining-tokens", "159976"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    )
    assert facts == RateFacts(
        requests=RateFact(limit=5_000, remaining=4_999, reset_s=0.012),
        tokens=RateFact(limit=160_000, remaining=159_976, reset_s=360.0),
    )


def test_anthropic_headers() -> None:
    """Resets are times of day, counted from the answer's own date; the sum of input and output is left out."""
    facts = facts_of(
        DATE,
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-requests-reset", "2026-11-21T12:00:30Z"),
        ("anthropic-ratelimit-tokens-limit", "38000"),
        ("anthropic-ratelimit-tokens-remaining", "38000"),
        ("anthropic-ratelimit-tokens-reset", "2026-11-21T12:00:00Z"),
        ("anthropic-ratelimit-input-tokens-limit", "30000"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-11-21T12:01:00+00:00"),
        ("anthropic-ratelimit-output-tokens-limit", "8000"),
        ("anthropic-ratelimit-output-tokens-remaining", "8000"),
    )
    assert facts == RateFacts(
        requests=RateFact(limit=50, remaining=49, reset_s=30.0),
        input_tokens=RateFact(limit=30_000, remaining=0, reset_s=60.0),
        output_tokens=RateFact(limit=8_000, remaining=8_000, reset_s=None),
    )


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("content-type", "application/json"), ("retry-after", "3")],
        [("x-ratelimit-limit-tokens", "-1"), ("x-ratelimit-remaining-tokens", "-1"), ("x-ratelimit-reset-tokens", "0")],
        [("x-ratelimit-limit-requests", "0"), ("x-ratelimit-remaining-requests", "0")],
        [("x-ratelimit-limit-requests", "many"), ("x-ratelimit-remaining-requests", "some")],
        [("x-ratelimit-limit-requests", "60")],
        [("x-ratelimit-limit-requests", "9" * 40), ("x-ratelimit-remaining-requests", "1")],
    ],
)
def test_what_says_nothing(headers: list[tuple[str, str]]) -> None:
    """No headers, negative numbers, words, halves and absurd numbers are no limits; an answer asks for no wait."""
    assert facts_of(*headers) is None


@pytest.mark.parametrize("moment", ["soon", "2026-11-21T11:59:00Z", "2036-11-21T12:00:00Z", "2026-11-21T12:00:30", ""])
def test_resets_that_say_nothing(moment: str) -> None:
    """A reset that is no time, is past, is absurdly far or has no zone is left out; the limit counts without it."""
    limit = (("anthropic-ratelimit-requests-limit", "5"), ("anthropic-ratelimit-requests-remaining", "7"))
    assert facts_of(DATE, *limit, ("anthropic-ratelimit-requests-reset", moment)) == RateFacts(
        requests=RateFact(limit=5, remaining=5, reset_s=None)
    )


@pytest.mark.parametrize("status", [429, 503, 529])
def test_refusals_ask_for_a_wait(status: int) -> None:
    """A refusal says how long the provider wants to be left alone."""
    assert facts_of(("retry-after", "7"), status=status) == RateFacts(retry_after_s=7.0)
    assert facts_of(("retry-after-ms", "250"), ("retry-after", "1"), status=status) == RateFacts(retry_after_s=0.25)
    assert facts_of(DATE, ("retry-after", "Sat, 21 Nov 2026 12:00:09 GMT"), status=status) == RateFacts(retry_after_s=9.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("1.5s", 1.5),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3_723.0),
        ("1d", 86_400.0),
        ("90", 90.0),
        ("8d", None),
        ("1s2", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    """Durations are read as providers write them; what is no duration, or longer than a week, is none."""
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


def test_nobody_listening_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers are not read where nobody wants to know."""
    monkeypatch.setattr(rate_headers, "rate_facts", None)
    report_rates(200, [(b"x-ratelimit-limit-requests", b"60")])


@pytest.fixture(params=ADAPTERS)
async def bench(request: pytest.FixtureRequest, emulator: RunningEmulator) -> AsyncIterator[Bench]:
    """Return each adapter in turn, pointed at the emulator."""
    made = Bench(request.param, emulator)
    made.connect()
    yield made
    await made.aclose()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_every_adapter_hands_over_what_answers_say(bench: Bench, *, stream: bool) -> None:
    """Whatever the adapter, whole or streamed: who listens gets what the answer's headers said, and of a refusal the wait."""
    heard: list[RateFacts] = []
    with hearing_rates(heard.append):
        await bench.ask(stream=stream)
        told = list(heard)
        bench.emulator.script({"status": 429, "retry_after": "3"})
        await bench.fault(stream=stream)
    assert all(facts.requests is not None for facts in told)
    if bench.adapter in TOLD:
        assert len(told) == 1
        assert heard[-1].retry_after_s == 3.0
