"""Spans for calls that somebody traces, and nothing at all for the others.

Whether a call is traced is decided before anything is built: by the caller's `traceparent`, else by the sample ratio.

Source:
    W3C Trace Context, level 2: `version-traceid-parentid-flags`, the lowest bit of the flags is "sampled".
"""

import random
import re
from collections.abc import Callable, Mapping
from typing import Protocol

from aigend.telemetry.names import ATTRIBUTES

AttributeValue = str | int | float | bool | tuple[str, ...]
LONGEST_VALUE = 256  # characters; names and ids are shorter, prompts are not
TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
SAMPLED = frozenset("13579bdf")  # last digits of flags whose lowest bit is set
FLAGS_LENGTH = 55


class Span(Protocol):
    """A traced stretch of work."""

    @property
    def traceparent(self) -> str:
        """What a call made within the span carries on."""
        ...

    def child(self, name: str, attributes: Mapping[str, AttributeValue] | None = None) -> "Span":
        """Return a span within this one."""
        ...

    def set(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Note facts that were not known at the start."""
        ...

    def event(self, name: str, attributes: Mapping[str, AttributeValue]) -> None:
        """Note something that happened within the span."""
        ...

    def end(self, *, error_type: str = "") -> None:
        """End the span; `error_type` says what it failed with."""
        ...


SpanMaker = Callable[[str, str, Mapping[str, AttributeValue]], Span]


class Tracer:
    """Decides whether a call is traced.

    Args:
        make: Builds a span out of name, traceparent and attributes; None where traces are off.
        sample_ratio: Share of calls that are traced although their caller does not, 0 to 1.
        draw: Draws a number from 0 to 1.
    """

    def __init__(
        self, make: SpanMaker | None = None, *, sample_ratio: float = 0.0, draw: Callable[[], float] = random.random
    ) -> None:
        self._make = make
        self._ratio = sample_ratio
        self._draw = draw

    def arm(self, make: SpanMaker, *, sample_ratio: float) -> None:
        """Trace calls from now on."""
        self._make, self._ratio = make, sample_ratio

    @property
    def enabled(self) -> bool:
        """Whether any call can be traced."""
        return self._make is not None

    def start_span(
        self, name: str, traceparent: str = "", *, attributes: Mapping[str, AttributeValue] | None = None
    ) -> Span | None:
        """Return a span where the call is traced, else None.

        Args:
            name: One of the spans of `names`.
            traceparent: The caller's, as it came; a malformed one counts as none.
            attributes: Facts known at the start, by the names of `names`.
        """
        if self._make is None:
            return None
        if not (sampled(traceparent) or (self._ratio > 0.0 and self._draw() < self._ratio)):
            return None
        return self._make(name, traceparent, safe_attributes(attributes or {}))

    def event(self, name: str, attributes: Mapping[str, AttributeValue]) -> None:
        """Tell of something that no call stands for, in a span of its own, whatever share of calls is traced."""
        if self._make is None:
            return
        span = self._make(name, "", {})
        span.event(name, safe_attributes(attributes))
        span.end()


def sampled(traceparent: str) -> bool:
    """Return whether a caller traces its call, by the flag alone.

    Example:
        >>> sampled("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        True
        >>> sampled("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"), sampled("")
        (False, False)
    """
    return len(traceparent) >= FLAGS_LENGTH and traceparent[FLAGS_LENGTH - 1] in SAMPLED


def parent_ids(traceparent: str) -> tuple[int, int] | None:
    """Return the trace id and span id of a well-formed traceparent."""
    match = TRACEPARENT.fullmatch(traceparent)
    if match is None or traceparent.startswith("ff"):
        return None
    return int(match[1], 16), int(match[2], 16)


def safe_attributes(attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    """Return the attributes that may be exported: those with a name of ours, long text replaced by its length."""
    return {name: _short(value) for name, value in attributes.items() if name in ATTRIBUTES}


def _short(value: AttributeValue) -> AttributeValue:
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        return f"<{len(value)} characters>"
    if isinstance(value, tuple):
        return tuple(item if len(item) <= LONGEST_VALUE else f"<{len(item)} characters>" for item in value)
    return value
