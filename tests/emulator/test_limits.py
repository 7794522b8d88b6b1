"""Concurrency and rate of the emulated provider, its prompt cache and its truth log."""

import asyncio
import json
from pathlib import Path

import pytest
from aigen_emulator.limits import Gate
from aigen_emulator.prompt_cache import PromptCache
from aigen_emulator.truth import Charge, TruthLog
from aigen_emulator.wire.openai import OpenAIWire


class Time:
    """A clock that stands until told otherwise."""

    now = 0.0

    def __call__(self) -> float:
        """Return what it was told."""
        return self.now


def charge(number: int) -> Charge:
    """Return a charge."""
    return Charge(
        request_id=f"r{number}", attempt=None, provider="p", model="m", input_tokens=1, cached_tokens=0, output_tokens=2, status=200
    )


def said(gate: Gate) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response that is sent now, as OpenAI spells them."""
    return OpenAIWire().headers(gate.allowance())


def test_concurrency_is_bounded() -> None:
    """One request more than the bound is refused until another leaves."""
    gate = Gate(Time(), max_concurrent=2, per_minute=None)
    assert [gate.enter() is None for _ in range(3)] == [True, True, False]
    gate.leave()
    assert gate.enter() is None
    assert (gate.peak_in_flight, gate.refused) == (2, 1)


def test_rate_is_bounded_in_any_minute() -> None:
    """The window slides: what was admitted 60 seconds ago no longer counts."""
    time = Time()
    gate = Gate(time, max_concurrent=None, per_minute=2)
    assert gate.enter() is None
    time.now = 20.0
    assert gate.enter() is None
    refusal = gate.enter()
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(40.0)
    assert (b"x-ratelimit-remaining-requests", b"0") in said(gate)
    assert (b"x-ratelimit-reset-requests", b"40.000s") in said(gate)
    time.now = 60.0
    assert gate.enter() is None


def test_headers_without_a_bound_are_plausible() -> None:
    """A provider without a bound still sends its headers."""
    assert (b"x-ratelimit-reset-requests", b"6ms") in said(Gate(Time(), max_concurrent=None, per_minute=None))


def test_headers_before_the_first_request() -> None:
    """Nothing has to be waited for before anything was asked."""
    assert (b"x-ratelimit-reset-requests", b"0ms") in said(Gate(Time(), max_concurrent=None, per_minute=1))


def test_prompt_cache_knows_prefixes_in_blocks() -> None:
    """A prompt that begins like an earlier one is cached in whole blocks of 128 tokens, from 1,024 on, per owner."""
    cache = PromptCache()
    prefix = "".join(f"{number:08d}" for number in range(640))  # 1,280 tokens
    assert cache.cached_tokens(prefix, owner="a") == 0
    assert cache.cached_tokens(prefix + "more", owner="a") == 1_280
    assert cache.cached_tokens(prefix[:4_700] + "x" * 900, owner="a") == 1_152
    assert cache.cached_tokens(prefix, owner="b") == 0
    assert cache.cached_tokens("short", owner="a") == 0


def test_prompt_cache_is_bounded() -> None:
    """The oldest blocks are forgotten."""
    cache = PromptCache(max_blocks=8)
    first, second = "a" * 4_096, "b" * 4_096
    assert [cache.cached_tokens(text, owner="o") for text in (first, second, first)] == [0, 0, 0]


async def test_charges_are_on_disk_when_charged(tmp_path: Path) -> None:
    """A charge that was awaited is in the file, and concurrent ones keep their numbers."""
    log = TruthLog(tmp_path / "truth.jsonl")
    await asyncio.gather(*(log.charge(charge(number)) for number in range(50)))
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [line["n"] for line in lines] == list(range(1, 51))
    assert {line["request_id"] for line in lines} == {f"r{number}" for number in range(50)}
    log.close()
    log.close()


async def test_a_log_that_fails_fails_the_charge(tmp_path: Path) -> None:
    """What could not be written is not taken for charged."""
    log = TruthLog(tmp_path / "truth.jsonl")
    log.close()
    log._descriptor = -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        await log.charge(charge(1))


async def test_without_a_file_charges_are_counted() -> None:
    """No file, no lines, but a count."""
    log = TruthLog(None)
    await log.charge(charge(1))
    assert log.count == 1
