"""Reading price files."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from aigend.config import SettingsError
from aigend.ledger.prices.file import PriceFileError, parse_prices

FULL = """\
version: 3
currency: USD
source: our contract
checked_on: 2026-11-01
providers:
  anthropic:
    claude-x:
      - {input: 4, output: 20}
      - input: 3
        output: 15.25
        cache_read: 0.30
        cache_write_5m: 3.75
        cache_write_1h: 6
        batch: {input: 1.5, output: 7.5}
        flex: {input: 2, output: 8}
        tiers:
          - {above: 500000, input: 9}
          - {above: 200000, input: 6, output: 22.5}
        request_fee: 0.005
        search_fee: 0.01
        valid_from: 2026-06-01
        source: their page
        checked_on: 2026-10-30
agents:
  claude: {input: 3, output: 15}
"""


def test_file_with_everything_is_read():
    """Every field of the format arrives, rates exactly as written, entries and tiers in their order."""
    table = parse_prices(FULL, name="prices.yaml")
    first, second = table.models["anthropic", "claude-x"]
    assert (first.input, first.valid_from, first.source) == (Decimal(4), None, "our contract")
    assert first.id == "prices.yaml@3:anthropic/claude-x"
    assert (second.output, second.cache_read, second.cache_write_1h) == (Decimal("15.25"), Decimal("0.30"), Decimal(6))
    assert [tier.above for tier in second.tiers] == [200_000, 500_000]
    assert (second.request_fee, second.search_fee) == (Decimal("0.005"), Decimal("0.01"))
    assert second.batch is not None
    assert (second.batch.input, second.batch.output) == (Decimal("1.5"), Decimal("7.5"))
    assert second.flex is not None
    assert (second.flex.input, second.flex.id) == (Decimal(2), f"{second.id}#flex")
    assert second.valid_from == datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    assert (second.source, str(second.checked_on)) == ("their page", "2026-10-30")
    assert second.id == "prices.yaml@3:anthropic/claude-x@2026-06-01"
    assert table.agents["claude"][0].output == 15


def test_rates_do_not_pass_through_binary_floats():
    """A rate that no binary float can hold stays exact."""
    table = parse_prices("{version: 1, currency: USD, providers: {p: {m: {input: 0.10000000000000001}}}}", name="f")
    assert table.models["p", "m"][0].input == Decimal("0.10000000000000001")


def test_price_file_error_is_a_settings_error():
    """A bad price file ends the daemon like any bad setting, with code 78."""
    assert issubclass(PriceFileError, SettingsError)
    assert PriceFileError.exit_code == 78


HEAD = "version: 1\ncurrency: USD\n"
MODEL = HEAD + "providers:\n  openai:\n    gpt-4o: "


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: [", None, "no YAML"),
        ("", 1, "the file is no mapping"),
        ("- 1", 1, "the file is no mapping"),
        ("currency: USD", 1, "version is missing"),
        ("version: 1", 1, "currency is missing"),
        ("version: 1\ncurrency: EUR", 2, "currency is 'EUR'; allowed: USD"),
        (HEAD + "provider: {}", 3, "provider is unknown; allowed: version, currency, source, checked_on, providers, agents "),
        (HEAD + "provider: {}", 3, "did you mean providers?"),
        (HEAD + "currency: USD", 3, "currency is given twice"),
        (HEAD + "checked_on: soon", 3, "checked_on is 'soon'; allowed: a date as YYYY-MM-DD"),
        (HEAD + "source: [a]", 3, "source is a list or mapping"),
        (HEAD + "providers: [openai]", 3, "providers is no mapping"),
        (MODEL + "{input: abc}", 5, "providers.openai.gpt-4o.input is 'abc'; allowed: USD as a decimal number"),
        (MODEL + "{input: -1}", 5, "providers.openai.gpt-4o.input is '-1'"),
        (MODEL + "{input: nan}", 5, "input is 'nan'"),
        (MODEL + "{input: 1e400}", 5, "input is '1e400'"),
        (MODEL + "{inputs: 1}", 5, "did you mean input?"),
        (MODEL + "{source: x}", 5, "providers.openai.gpt-4o is without a rate"),
        (MODEL + "{input: 1, tiers: {above: 1}}", 5, "tiers is no list"),
        (MODEL + "{input: 1, tiers: [{input: 1}]}", 5, "tiers[0].above is missing"),
        (MODEL + "{input: 1, tiers: [{above: -5, input: 1}]}", 5, "tiers[0].above is '-5'; allowed: input tokens"),
        (MODEL + "{input: 1, batch: {inputs: 1}}", 5, "batch.inputs is unknown"),
        (MODEL + "{input: 1, checked_on: 2026-11-23}", 5, "gpt-4o.checked_on is '2026-11-23'; allowed: a day that has come"),
        (HEAD + "checked_on: 2027-01-01", 3, "checked_on is '2027-01-01'; allowed: a day that has come, as YYYY-MM-DD"),
        (
            MODEL + "\n      - {input: 1, valid_from: 2026-01-01}\n      - {input: 2, valid_from: 2026-01-01}",
            7,
            "providers.openai.gpt-4o[1].valid_from is '2026-01-01'; allowed: each day once in a model's list",
        ),
        (MODEL + "\n      - {input: 1}\n      - {input: 2}", 7, "gpt-4o[1].valid_from is missing; allowed: each day once"),
    ],
)
def test_bad_file_is_refused_with_its_place(text, line, says):
    """The error names the file, the line, the key, the value and what is allowed."""
    with pytest.raises(PriceFileError) as caught:
        parse_prices(text, name="prices.yaml", today=date(2026, 11, 21))
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"prices.yaml:{line}: " if line else "prices.yaml: ")


def test_day_of_a_check_may_be_tomorrow_in_utc():
    """Somewhere it is tomorrow already; announced prices may begin any day; without a day of today nothing is held against it."""
    entry = "{input: 1, checked_on: 2026-11-22, valid_from: 2027-06-01}"
    assert parse_prices(MODEL + entry, name="f", today=date(2026, 11, 21)).models
    assert parse_prices(HEAD + "checked_on: 2999-01-01", name="f").models == {}
