"""What telemetry is told about provider calls."""

import dataclasses
from pathlib import Path

import pytest
from aigend.completion.call import Landing
from aigend.completion.watch import Watch
from aigend.errors import DomainError
from aigend.providers.port import FaultKind, ProviderFault
from aigend.routing.health import CircuitReport, CircuitState, KeyId
from aigend.telemetry import names
from aigend.telemetry.instruments import CallCounters, MetricSources
from aigend.telemetry.tracing import Tracer
from aigend.types import Answer, CacheOutcome, CallFacts, Cost, CostBasis, Route, SavingsCause, TokenUsage
from structlog.testing import capture_logs

from tests.fakes import fake_reply
from tests.spine import Spine, caller, question, spine

TRACED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class FakeSpan:
    """A span that remembers what it was told."""

    traceparent = TRACED

    def __init__(self, name: str, traceparent: str, attributes) -> None:
        self.name, self.parent = name, traceparent
        self.attributes = dict(attributes)
        self.error_type: str | None = None

    def set(self, attributes) -> None:
        """Take note."""
        self.attributes |= attributes

    def end(self, *, error_type: str = "") -> None:
        """Take note."""
        self.error_type = error_type


def _traced(house: Spine) -> list[FakeSpan]:
    spans: list[FakeSpan] = []

    def make(name: str, traceparent: str, attributes) -> FakeSpan:
        spans.append(FakeSpan(name, traceparent, attributes))
        return spans[-1]

    house.sharing._attempts._watch = Watch(meter=CallCounters(), tracer=Tracer(make))
    return spans


async def test_each_attempt_of_a_traced_call_has_its_span(tmp_path: Path) -> None:
    """A failed attempt and the one that answers each have a span under the caller's, with provider, tokens and cost."""
    async with spine(tmp_path) as house:
        spans = _traced(house)
        house.one.will(ProviderFault(FaultKind.AUTH, "no key", provider="one", status=401))
        house.two.will(fake_reply("hello", model="model-2"))
        traced = dataclasses.replace(caller("id"), traceparent=TRACED)
        await house.engine.complete(question(fallback_models=("two/model-2",), service="aigenflow"), traced)
        failed, answered = spans
        assert (failed.parent, failed.error_type, answered.error_type) == (TRACED, "auth", "")
        assert [span.attributes[names.ATTEMPT] for span in spans] == [1, 2]
        assert answered.attributes[names.SERVICE] == "aigenflow"
        assert answered.attributes[names.OUTPUT_TOKENS] == 1
        assert answered.attributes[names.COST_NANOS] == 10 * 2_000 + 20_000


def test_savings_are_counted_by_each_cause() -> None:
    """A call that saved for two reasons is counted under both, as its row in the ledger says."""
    meter, sources, cost = CallCounters(), MetricSources(), Cost(nanos=5, basis=CostBasis.PRICED)
    said = fake_reply("hello")
    answer = Answer(
        parts=said.parts,
        finish_reason=said.finish_reason,
        route=Route("one", "model-1"),
        resolved_model="model-1",
        usage=TokenUsage(input=1),
        cost=cost,
    )
    facts = CallFacts(
        request_id="id",
        requested_model="model-1",
        outcome=CacheOutcome.MISS,
        cost=cost,
        saved_nanos=7,
        saved_cause=SavingsCause.PROMPT_CACHE,
    )
    savings = {SavingsCause.PROMPT_CACHE: -3, SavingsCause.ROUTING: 10}
    Watch(meter=meter, tracer=Tracer()).settled(
        None, Landing(answer=answer, cache_key=b"k" * 32, wire=b"", facts=facts, savings=savings)
    )
    meter.observe(sources)
    told = {point.attributes[names.SAVINGS_CAUSE]: point.value for point in sources.read(names.SAVED)}
    assert told == {"prompt_cache": -3, "routing": 10}


async def test_unpriced_call_has_no_cost_in_its_span(tmp_path: Path) -> None:
    """An unknown cost is left out, never 0."""
    async with spine(tmp_path) as house:
        spans = _traced(house)
        traced = dataclasses.replace(caller("id"), traceparent=TRACED)
        await house.engine.complete(question(model="one/unpriced"), traced)
        assert names.COST_NANOS not in spans[0].attributes


def test_changes_of_a_circuit_are_logged() -> None:
    """An opened circuit is a warning with what it takes to understand it; the key itself stands nowhere."""
    watch = Watch(meter=CallCounters(), tracer=Tracer())
    with capture_logs() as lines:
        for state in (CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED):
            watch.circuit_changed(CircuitReport(key=KeyId("p", 2), state=state, refused=False, failures=5, retry_s=14.9996))
    opened, tried, closed = lines
    assert opened == {
        "event": "circuit_opened",
        "log_level": "warning",
        "provider": "p",
        "key": 2,
        "refused": False,
        "failures": 5,
        "retry_s": 15.0,
    }
    assert [tried["event"], closed["event"]] == ["circuit_half_open", "circuit_closed"]


async def test_call_that_is_not_traced_has_no_span(tmp_path: Path) -> None:
    """Without a traceparent of its own nothing is built."""
    async with spine(tmp_path) as house:
        spans = _traced(house)
        house.one.will(ProviderFault(FaultKind.REJECTED, "no", provider="one", status=400))
        with pytest.raises(DomainError):
            await house.ask()
        await house.ask("again")
        assert not spans
