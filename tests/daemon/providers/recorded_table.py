"""All recorded exchanges in one table: `python -m tests.daemon.providers.recorded_table`.

An exchange is read by the one adapter whose API it is a call of, or by none, for a reason. What an adapter must make of it
stands in the tests of each provider.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from tests.daemon.providers.recorded import Exchange, Reading, Results, exchanges_of, results_of
from tests.daemon.providers.test_recorded_anthropic import AnthropicReading
from tests.daemon.providers.test_recorded_gemini import GeminiReading, as_events
from tests.daemon.providers.test_recorded_openai import OpenAIReading
from tests.daemon.providers.test_recorded_responses import ResponsesReading, SonarReading

READINGS: tuple[Reading, ...] = (OpenAIReading(), ResponsesReading(), AnthropicReading(), GeminiReading(), SonarReading())
PROVIDERS = tuple(dict.fromkeys(reading.provider for reading in READINGS))


@dataclass
class Shared:
    """The exchanges of one provider: who reads each, and why nobody reads the rest."""

    by_adapter: dict[str, list[Exchange]] = field(default_factory=dict)
    not_applicable: Counter[str] = field(default_factory=Counter)  # by reason
    twice: list[Exchange] = field(default_factory=list)  # read by more than one adapter

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(map(len, self.by_adapter.values())) + self.not_applicable.total()


def shared(provider: str) -> Shared:
    """Return who reads the recorded exchanges of a provider."""
    found = Shared()
    for exchange in exchanges_of(provider):
        reasons = {reading.adapter: reading.why_not(exchange) for reading in READINGS if reading.provider == provider}
        readers = [adapter for adapter, reason in reasons.items() if not reason]
        if not readers:
            found.not_applicable[" and ".join(reasons.values())] += 1
            continue
        found.by_adapter.setdefault(readers[0], []).append(exchange)
        if len(readers) > 1:
            found.twice.append(exchange)
    return found


async def table() -> str:
    """Return the table, after letting the real SDKs read every exchange over loopback."""
    lines = [
        "| provider | exchanges | adapter | whole | stream | error | wrong | not applicable |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for provider in PROVIDERS:
        parts = shared(provider)
        for adapter, exchanges in parts.by_adapter.items():
            reading = next(reading for reading in READINGS if reading.adapter == adapter)
            lines.append(_row(provider, await results_of(reading, map(as_events, exchanges)), len(exchanges)))
        lines += [f"| {provider} | {count} | | | | | | {reason} |" for reason, count in parts.not_applicable.items()]
    return "\n".join(lines)


def _row(provider: str, results: Results, count: int) -> str:
    passed = " | ".join(str(results.passed[kind]) for kind in ("whole", "stream", "error"))
    return f"| {provider} | {count} | {results.adapter} | {passed} | {len(results.wrong)} | |"


if __name__ == "__main__":
    print(asyncio.run(table()))  # noqa: T201 - what it is for
