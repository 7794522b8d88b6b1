"""Metrics as plain counters that exporters read."""

import logging

import pytest
from aigend.telemetry.instruments import Buckets, CallCounters, DurationBuckets, Measurement, MetricSources
from aigend.telemetry.names import (
    CACHE_OUTCOME,
    COMPLETION_DURATION,
    COMPLETIONS,
    ERROR_TYPE,
    FAILURES,
    IN_FLIGHT,
    OPERATION,
    OPERATION_DURATION,
    PROVIDER,
    REQUEST_MODEL,
)
from aigend.types import CacheOutcome


@pytest.fixture
def sources() -> MetricSources:
    """Return sources without any metric."""
    return MetricSources()


def test_calls_are_counted_by_outcome_and_failures_by_reason(sources):
    """Each answered call is in one completion count and one duration bucket."""
    calls = CallCounters()
    calls.observe(sources)
    calls.count_call(CacheOutcome.HIT, 90)
    calls.count_call(CacheOutcome.HIT, 150)
    calls.count_call(CacheOutcome.MISS, 2_000_000)
    calls.count_failure("OVERLOADED")
    assert sources.read(COMPLETIONS) == [Measurement(2, {CACHE_OUTCOME: "hit"}), Measurement(1, {CACHE_OUTCOME: "miss"})]
    assert sources.read(FAILURES) == [Measurement(1, {ERROR_TYPE: "OVERLOADED"})]
    hit, miss = sources.read(COMPLETION_DURATION)
    assert isinstance(hit, Buckets)
    assert (sum(hit.counts), hit.total) == (2, 0.00024)
    assert miss.total == 2.0


def test_provider_calls_are_counted_by_model_and_fault(sources):
    """A failed call is apart from the good ones of the same model."""
    calls = CallCounters()
    calls.observe(sources)
    calls.count_provider_call("openai", "gpt-4o", duration_us=1_000_000)
    calls.count_provider_call("openai", "gpt-4o", duration_us=5, error="timeout")
    good, bad = sources.read(OPERATION_DURATION)
    assert good.attributes == {OPERATION: "chat", PROVIDER: "openai", REQUEST_MODEL: "gpt-4o"}
    assert bad.attributes == {OPERATION: "chat", PROVIDER: "openai", REQUEST_MODEL: "gpt-4o", ERROR_TYPE: "timeout"}


@pytest.mark.parametrize(("duration_us", "index"), [(0, 0), (10, 0), (11, 1), (20, 1), (50_000_000, -2), (50_000_001, -1)])
def test_a_duration_falls_into_the_bucket_whose_upper_edge_it_does_not_pass(duration_us, index):
    """Edges belong to the bucket below, and what is longer than all of them has one of its own."""
    buckets = DurationBuckets()
    buckets.add(duration_us)
    counts = buckets.read({}).counts
    assert counts[index] == 1
    assert sum(counts) == 1


def test_a_number_without_attributes_is_read_when_asked(sources):
    """The value is the one at the time of reading."""
    values = [3]
    sources.observe_value(IN_FLIGHT, lambda: values[0])
    values[0] = 4
    assert sources.read(IN_FLIGHT) == [Measurement(4)]
    assert sources.metrics() == (IN_FLIGHT,)


def test_a_source_that_fails_is_reported_once_and_gives_nothing(sources, caplog):
    """One broken metric does not take the others away, and does not fill the log."""

    def broken():
        raise ValueError("x")

    sources.observe(IN_FLIGHT, broken)
    with caplog.at_level(logging.WARNING):
        assert sources.read(IN_FLIGHT) == sources.read(IN_FLIGHT) == []
    assert [record.message for record in caplog.records] == ["metric_unreadable"]


def test_a_source_that_changes_while_it_is_read_is_read_again(sources):
    """A dictionary that grows under the reader costs a second look, then the metric is left out."""
    looks = []

    def unsteady():
        looks.append(1)
        if len(looks) < 3:
            raise RuntimeError("dictionary changed size during iteration")
        return [Measurement(1)]

    def never():
        raise RuntimeError("dictionary changed size during iteration")

    sources.observe(IN_FLIGHT, unsteady)
    assert sources.read(IN_FLIGHT) == [Measurement(1)]
    sources.observe(IN_FLIGHT, never)
    assert sources.read(IN_FLIGHT) == []
