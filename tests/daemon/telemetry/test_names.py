"""Names of spans, metrics and attributes."""

import re

import pytest
from aigend.telemetry import names

INCUBATING = "opentelemetry.semconv._incubating"


def test_every_attribute_is_in_the_list_of_attributes():
    """What is not in the list would never be exported."""
    spelled = {
        value for name, value in vars(names).items() if isinstance(value, str) and re.match(r"(gen_ai|aigen|error)\.", value)
    }
    spans = {value for name, value in vars(names).items() if name.startswith("SPAN_")}
    assert spelled - spans == names.ATTRIBUTES


def test_every_metric_is_in_the_list_of_metrics_and_named_once():
    """A metric has one name, a unit and a sentence."""
    spelled = [value for value in vars(names).values() if isinstance(value, names.Metric)]
    assert set(spelled) == set(names.METRICS)
    assert len({metric.name for metric in names.METRICS}) == len(names.METRICS)
    assert all(metric.unit and metric.description.endswith(".") for metric in names.METRICS)


def test_names_of_the_conventions_exist_there():
    """A `gen_ai` name that OpenTelemetry does not know would be read by no dashboard."""
    attributes = pytest.importorskip(f"{INCUBATING}.attributes.gen_ai_attributes")
    metrics = pytest.importorskip(f"{INCUBATING}.metrics.gen_ai_metrics")
    known = {value for value in (*vars(attributes).values(), *vars(metrics).values()) if isinstance(value, str)}
    ours = {*names.ATTRIBUTES, *(metric.name for metric in names.METRICS)}
    assert {name for name in ours if name.startswith("gen_ai.")} <= known
