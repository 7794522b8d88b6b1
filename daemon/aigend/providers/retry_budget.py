"""How many retries a provider is sent: few beside its calls, so that retries never multiply the load of one that is failing."""

from dataclasses import dataclass

from aigend.clock import Clock
from aigend.config import RetrySettings

CALLS_SAVED = 100  # calls whose share is saved up for a bad moment, besides what one second gives
_ROUNDING = 1e-9  # shares are fractions, and ten tenths may fall short of one


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float  # monotonic clock


class RetryBudget:
    """A bucket of retries for each provider: calls and time fill it, a retry takes one.

    Args:
        clock: Tells the time.

    Attributes:
        refused: Retries that were not made because a bucket was empty, by provider.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self.refused: dict[str, int] = {}

    def note_call(self, provider: str, settings: RetrySettings) -> None:
        """Let a call add its share."""
        self._fill(provider, settings, settings.budget_ratio)

    def take(self, provider: str, settings: RetrySettings) -> bool:
        """Take one retry and return True; return False where none is left."""
        bucket = self._fill(provider, settings, 0.0)
        if bucket.tokens < 1.0 - _ROUNDING:
            self.refused[provider] = self.refused.get(provider, 0) + 1
            return False
        bucket.tokens -= 1.0
        return True

    def _fill(self, provider: str, settings: RetrySettings, share: float) -> _Bucket:
        now = self._clock.monotonic()
        bucket = self._buckets.get(provider)
        if bucket is None:
            bucket = self._buckets[provider] = _Bucket(settings.budget_per_second, now)
        passed = (now - bucket.at) * settings.budget_per_second
        most = settings.budget_per_second + CALLS_SAVED * settings.budget_ratio
        bucket.tokens = min(most, bucket.tokens + passed + share)
        bucket.at = now
        return bucket
