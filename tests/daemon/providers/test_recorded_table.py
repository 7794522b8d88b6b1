"""Every recorded exchange is read by one adapter, or by none for a reason."""

from collections import Counter

from tests.daemon.providers.recorded import RECORDINGS, needs_recordings
from tests.daemon.providers.recorded_table import PROVIDERS, shared

COUNTS = {"openai": 150, "anthropic": 117, "gemini": 100, "perplexity": 4}
NOBODYS = {"another API of the provider: batches": 4}  # they begin, show, list and cancel batches; nobody completes anything


@needs_recordings
def test_every_exchange_is_accounted_for() -> None:
    """371 exchanges: 367 are read by exactly one adapter, whose test reads them, and four are calls of an API for batches."""
    parts = {provider: shared(provider) for provider in PROVIDERS}
    assert {provider: part.count for provider, part in parts.items()} == COUNTS
    assert [exchange for part in parts.values() for exchange in part.twice] == []
    assert sum((part.not_applicable for part in parts.values()), start=Counter()) == NOBODYS
    assert sum(COUNTS.values()) == len(RECORDINGS.read_text(encoding="utf-8").splitlines())


@needs_recordings
def test_each_adapter_reads_its_share() -> None:
    """The shares are those that the tests of the providers demand to be understood."""
    shares = {adapter: len(read) for provider in PROVIDERS for adapter, read in shared(provider).by_adapter.items()}
    assert shares == {"openai": 82, "openai-responses": 68, "anthropic": 113, "gemini": 100, "sonar": 4}
