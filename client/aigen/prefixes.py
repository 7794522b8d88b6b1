"""What the daemon decided about the providers' prompt caches."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from aigen.results import usd

__all__ = ["PrefixDecision"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixDecision:
    """What was decided about the prompt cache for one request on one route."""

    create_time: datetime | None
    request_id: str
    provider: str
    model: str
    service: str
    decision: str  # never, always, second_sight, adaptive, or caller for the caller's own marks
    prefix: str  # digest of the longest marked prefix, else of the longest there is; 16 hexadecimal digits
    tokens: int  # of that prefix, estimated
    mark_count: int  # 0: nothing was marked
    ttl_seconds: int  # the longest for which something was marked; 0: nothing was
    reason: str  # for people
    expected_gain_usd_nanos: int  # nano-dollars; 0: nothing was reckoned or is expected
    premium_usd_nanos: int  # nano-dollars that writing costs above sending, expected

    @property
    def expected_gain_usd(self) -> Decimal:
        """What the marks are expected to gain, in dollars."""
        return usd(self.expected_gain_usd_nanos)
