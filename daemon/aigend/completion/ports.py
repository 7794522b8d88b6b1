"""What the spine needs of the outside and does not own: the wire spelling of an answer, and the meter of calls."""

from collections.abc import Mapping
from typing import Protocol

from aigend.types import Answer, CacheOutcome, CallFacts


class AnswerCodec(Protocol):
    """Turns answers into the bytes that callers get; `rpc/` implements it."""

    def encode_answer(self, answer: Answer, cache_key: bytes) -> bytes:
        """Return the part of a response that is the same for all who ask."""
        ...

    def encode_call(self, facts: CallFacts) -> bytes:
        """Return the part that differs from call to call; a whole response is the answer's bytes followed by these."""
        ...

    def encode_repeat(self, request_id: str, total_us: int) -> bytes:
        """Return what still differs between two hits of the same caller on the same answer."""
        ...


class CallMeter(Protocol):
    """Counts what has no ledger row."""

    def count_call(self, outcome: CacheOutcome, total_us: int) -> None:
        """Count an answered call and its time in the daemon, in microseconds."""
        ...

    def count_failure(self, reason: str) -> None:
        """Count a call that ended with an error."""
        ...

    def count_settled(
        self, provider: str, model: str, *, tokens: Mapping[str, int], cost_nanos: int | None, saved: Mapping[str, int]
    ) -> None:
        """Count what a settled call used, cost and saved; money in nano-dollars, an unknown cost is None."""
        ...

    def count_provider_call(self, provider: str, model: str, *, duration_us: int, error: str = "") -> None:
        """Count a call to a provider and its time, in microseconds; `error` is the kind of fault it ended with."""
        ...
