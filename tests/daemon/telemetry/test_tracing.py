"""Which calls are traced, and what may stand on a span."""

import pytest
from aigend.telemetry.names import AGENT, FINISH_REASONS, REQUEST_MODEL, SPAN_COMPLETE
from aigend.telemetry.tracing import Tracer, parent_ids, safe_attributes, sampled

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


class Maker:
    """Counts the spans that were built."""

    def __init__(self) -> None:
        self.made: list[tuple] = []

    def __call__(self, name, traceparent, attributes):
        """Note a span."""
        self.made.append((name, traceparent, attributes))
        return self


def test_without_traces_no_call_is_traced():
    """A tracer that is off builds nothing, whatever the caller says."""
    tracer = Tracer()
    assert not tracer.enabled
    assert tracer.start_span(SPAN_COMPLETE, SAMPLED) is None


def test_a_sampled_caller_is_traced_and_another_is_not():
    """The caller's flag decides, before anything is built."""
    make = Maker()
    tracer = Tracer(make)
    assert tracer.start_span(SPAN_COMPLETE, UNSAMPLED) is None
    assert tracer.start_span(SPAN_COMPLETE) is None
    assert make.made == []
    assert tracer.start_span(SPAN_COMPLETE, SAMPLED, attributes={REQUEST_MODEL: "m"}) is make
    assert make.made == [(SPAN_COMPLETE, SAMPLED, {REQUEST_MODEL: "m"})]


def test_the_ratio_samples_callers_who_do_not():
    """A share of calls is traced by our own choice."""
    draws = iter([0.2, 0.3])
    tracer = Tracer(Maker(), sample_ratio=0.25, draw=lambda: next(draws))
    assert tracer.start_span(SPAN_COMPLETE) is not None
    assert tracer.start_span(SPAN_COMPLETE) is None


@pytest.mark.parametrize(
    ("flags", "expected"), [("01", True), ("03", True), ("ff", True), ("00", False), ("02", False), ("fe", False)]
)
def test_the_lowest_bit_of_the_flags_says_sampled(flags, expected):
    """Other bits of the flags say nothing about sampling."""
    assert sampled(f"00-{TRACE}-{SPAN}-{flags}") is expected


@pytest.mark.parametrize("traceparent", ["", "01", "x" * 40, SAMPLED[:-1]])
def test_a_short_traceparent_counts_as_none(traceparent):
    """Garbage is not sampled."""
    assert not sampled(traceparent)


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        "x" * 54 + "1",
    ],
)
def test_a_malformed_traceparent_gives_no_parent(traceparent):
    """Ids of zeros, a forbidden version and foreign characters are no parent."""
    assert parent_ids(traceparent) is None


def test_a_well_formed_traceparent_gives_its_ids():
    """Later versions may append fields."""
    assert parent_ids(SAMPLED) == (int(TRACE, 16), int(SPAN, 16))
    assert parent_ids(f"01-{TRACE}-{SPAN}-01-more") == (int(TRACE, 16), int(SPAN, 16))


def test_only_named_and_short_attributes_are_exported():
    """An attribute that is not in the list of names, or a long text, does not leave the daemon."""
    given = {REQUEST_MODEL: "m", "gen_ai.prompt": "planted", AGENT: "planted" * 50, FINISH_REASONS: ("stop", "planted" * 50)}
    assert safe_attributes(given) == {REQUEST_MODEL: "m", AGENT: "<350 characters>", FINISH_REASONS: ("stop", "<350 characters>")}
