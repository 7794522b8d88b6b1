"""What the headers of providers' answers say about rate limits, read in one place for all of them.

Two families are spoken: Anthropic's, whose resets are times of day, and OpenAI's, which many compatible servers speak too and whose
resets are durations such as `6m0s` or `12ms`. What becomes of it is decided by whoever listens.

Source:
    Anthropic "Rate limits", response headers; OpenAI "Rate limits", rate limits in headers; read 2026-11. Some compatible servers
    send negative numbers where they have no limit.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from email.utils import parsedate_to_datetime

from aigend.rate_facts import RateFact, RateFacts

Listener = Callable[[RateFacts], None]

_LISTENER: ContextVar[Listener | None] = ContextVar("rate_listener", default=None)
_ANTHROPIC = "anthropic-ratelimit-"
_OPENAI = "x-ratelimit-"
_FIELDS = {"requests": "requests", "tokens": "tokens", "input-tokens": "input_tokens", "output-tokens": "output_tokens"}
_NUMBER = re.compile(r"[0-9]{1,15}")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_REFUSALS = frozenset((429, 503, 529))
LONGEST_RESET_S = 604_800.0
_LONGEST_WAIT_S = 86_400.0


@contextmanager
def hearing_rates(listener: Listener) -> Iterator[None]:
    """Tell `listener` what answers to requests sent inside the block say about rate limits."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def report_rates(status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Tell whoever listens what one answer says, if it says anything."""
    if _LISTENER.get() is not None and (facts := rate_facts(status, headers)) is not None:
        tell_rates(facts)


def tell_rates(facts: RateFacts) -> None:
    """Tell whoever listens; for those whose answers come without headers."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(facts)


def rate_facts(status: int, headers: Iterable[tuple[bytes, bytes]]) -> RateFacts | None:
    """Return what an answer says about rate limits; None where it says nothing.

    Args:
        status: HTTP status; only refusals ask for a wait.
        headers: Fields as they came, names in any case.

    Example:
        >>> said = [(b"x-ratelimit-limit-requests", b"60"), (b"x-ratelimit-remaining-requests", b"59")]
        >>> rate_facts(200, said).requests
        RateFact(limit=60, remaining=59, reset_s=None)
    """
    told = {name: value.decode("latin-1").strip() for raw, value in headers if _matters(name := raw.decode("latin-1").lower())}
    wait_s = retry_after_s(told) if status in _REFUSALS else None
    facts = {field: fact for kind, field in _FIELDS.items() if (fact := _anthropic(told, kind) or _openai(told, kind)) is not None}
    if "input_tokens" in facts or "output_tokens" in facts:
        facts.pop("tokens", None)  # Anthropic's sum of the two, or the tighter of them
    return RateFacts(**facts, retry_after_s=wait_s) if facts or wait_s is not None else None


def _matters(name: str) -> bool:
    return name.startswith((_ANTHROPIC, _OPENAI, "retry-after")) or name == "date"


def _anthropic(told: Mapping[str, str], kind: str) -> RateFact | None:
    prefix = f"{_ANTHROPIC}{kind}-"
    reset_s = _seconds_until(told.get(f"{prefix}reset", ""), told.get("date", ""))
    return _fact(told.get(f"{prefix}limit", ""), told.get(f"{prefix}remaining", ""), reset_s)


def _openai(told: Mapping[str, str], kind: str) -> RateFact | None:
    reset_s = duration_s(told.get(f"{_OPENAI}reset-{kind}", ""))
    return _fact(told.get(f"{_OPENAI}limit-{kind}", ""), told.get(f"{_OPENAI}remaining-{kind}", ""), reset_s)


def _fact(limit: str, remaining: str, reset_s: float | None) -> RateFact | None:
    if _NUMBER.fullmatch(limit) is None or _NUMBER.fullmatch(remaining) is None or int(limit) < 1:
        return None
    return RateFact(limit=int(limit), remaining=min(int(limit), int(remaining)), reset_s=reset_s)


def _seconds_until(moment: str, date: str) -> float | None:
    """Return the time from the answer's own date to a time of day: clocks here and there may differ."""
    try:
        seconds = (datetime.fromisoformat(moment) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):
        return None
    return seconds if 0 <= seconds <= LONGEST_RESET_S else None


def duration_s(text: str) -> float | None:
    """Return a duration as providers write it, in seconds; None where it is none.

    Example:
        >>> duration_s("6m0s"), duration_s("12ms"), duration_s("1.5s"), duration_s("59"), duration_s("soon")
        (360.0, 0.012, 1.5, 59.0, None)
    """
    if _NUMBER.fullmatch(text) is not None:
        seconds = float(text)
    else:
        match = _DURATION.fullmatch(text)
        if not text or match is None:
            return None
        seconds = sum(float(amount) * unit for amount, unit in zip(match.groups(), _UNITS_S, strict=True) if amount)
    return seconds if seconds <= LONGEST_RESET_S else None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long a response asks to wait, in seconds; a date counts from the response's own date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        return wait if 0 <= wait <= _LONGEST_WAIT_S else None
    try:
        wait = (parsedate_to_datetime(headers["retry-after"]) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None
    return min(max(0.0, wait), _LONGEST_WAIT_S)
