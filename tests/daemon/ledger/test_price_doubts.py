"""What is said of a price file that can be used and is most likely not meant so."""

from decimal import Decimal
from pathlib import Path

import pytest
from aigend.ledger.prices.doubts import Known, doubts
from aigend.ledger.prices.file import parse_prices
from aigend.ledger.prices.pricing import PriceEntry

HEAD = "version: 1\ncurrency: USD\n"
FULL = PriceEntry(
    id="x", provider="openai", model="gpt-4o", source="the table", input=Decimal(3), output=Decimal(9), cache_read=Decimal(1)
)
KNOWN = Known(
    models={"openai": {"gpt-4o", "gpt-4o-mini"}, "local": ()},
    agents={"claude"},
    priced_without=lambda provider, model: FULL if (provider, model) == ("openai", "gpt-4o") else None,
)


def _said(text: str) -> list[str]:
    return [str(doubt) for doubt in doubts(parse_prices(HEAD + text, name="p"), KNOWN, path=Path("prices.yaml"))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "providers:\n  opnai: {gpt-4o: {input: 1}}",
            "prices.yaml:4: providers.opnai is no provider of these settings: no call has its prices (did you mean openai?)",
        ),
        (
            "providers:\n  openai:\n    gpt-4oo: {input: 1, output: 1}",
            "prices.yaml:5: providers.openai.gpt-4oo is no model that is known: only calls that ask for it have this price "
            "(did you mean gpt-4o?)",
        ),
        (
            "providers:\n  openai:\n    gpt-4o: {input: 2, cache_read: 1}",
            "prices.yaml:5: providers.openai.gpt-4o lacks output, which the table has for this model; an entry stands for all of "
            "it, so calls with output have no known price",
        ),
        (
            "providers:\n  openai:\n    gpt-4o: {input: 2, output: 8}",
            "prices.yaml:5: providers.openai.gpt-4o lacks cache_read, which the table has for this model; an entry stands for "
            "all of it, so the next dearer rate is booked for it",
        ),
        (
            "agents:\n  cluade: {input: 1}",
            "prices.yaml:4: agents.cluade is no agent: no call has its prices (did you mean claude?)",
        ),
    ],
)
def test_what_is_most_likely_not_meant_is_said(text, says):
    """File, line and name are told, with what follows from it and what was meant."""
    assert _said(text) == [says]


@pytest.mark.parametrize(
    "text",
    [
        "providers: {openai: {gpt-4o: {input: 2, output: 8, cache_read: 1}}}",
        "providers: {openai: {gpt-5o: {input: 2, output: 8}}}",  # another version
        "providers: {openai: {house-model: {input: 2, output: 8}}, local: {llama: {input: 0, output: 0}}}",
        "agents: {claude: {input: 1}}",
    ],
)
def test_what_may_well_be_meant_is_left_alone(text):
    """Whole entries, models that nobody lists, other versions and known agents are not remarked on."""
    assert _said(text) == []


def test_each_dated_entry_is_looked_at():
    """An entry of a list that lacks a rate is said once for itself."""
    both = "[{input: 1, cache_read: 1, valid_from: 2026-01-01}, {input: 1, output: 2, cache_read: 1, valid_from: 2026-02-01}]"
    assert len(_said(f"providers: {{openai: {{gpt-4o: {both}}}}}")) == 1
