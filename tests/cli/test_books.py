"""What corrections, exports, reports, savings and prices show and ask for at the command line, and `--csv` on every table."""

import csv
import inspect
import io
import json
from datetime import UTC, datetime

import aigen
import pytest
import typer
from aigen.v1 import cache_pb2, daemon_pb2, message_pb2, model_pb2, usage_pb2
from aigenctl.app import app
from aigenctl.columns import header
from aigenctl.currency import Currency, chosen
from aigenctl.exits import Exit

ENTRY = usage_pb2.LedgerEntry(
    id="7",
    request_id="r-7",
    attempt_number=1,
    state=message_pb2.ATTEMPT_STATE_SETTLED,
    provider="openai",
    model="gpt-4o|mini",
    session="run-1",
    labels={"team": "a"},
    usage={"input_tokens": 10, "output_tokens": 5},
    cost_usd_nanos=2_000_000_000,
    flags=["recorded", "repriced"],
)
TOTALS = usage_pb2.UsageTotals(
    call_count=3,
    hit_count=1,
    cost_usd_nanos=2_000_000_000,
    savings=[{"cause": "SAVINGS_CAUSE_PROMPT_CACHE", "call_count": 1, "saved_usd_nanos": -5_000_000}],
)
REPORT = usage_pb2.GenerateReportResponse(
    time_zone="Asia/Seoul",
    totals=TOTALS,
    sections=[{"group_by": "GROUP_BY_MODEL", "rows": [{"group": ["gpt-4o|mini"], "totals": TOTALS}]}],
    dearest_entries=[ENTRY],
    budgets=[{"name": "team", "window": "2026-11", "limit_usd_nanos": 4_000_000_000, "spent_usd_nanos": 2_000_000_000}],
)
WON = daemon_pb2.GetSettingsResponse(
    settings=[
        {"key": "currency.code", "value_json": '"KRW"', "origin": "file"},
        {"key": "currency.rates", "value_json": '{"2026-11-01": "1390.5"}', "origin": "file"},
    ]
)


def lines(text: str) -> list[dict[str, str]]:
    """Return CSV as rows by column."""
    return list(csv.DictReader(io.StringIO(text)))


def test_unknown_lists_what_is_unknown(daemon, run):
    """Only entries of unknown outcome are asked for."""
    daemon.answers["ListLedgerEntries"] = usage_pb2.ListLedgerEntriesResponse(entries=[ENTRY])
    assert lines(run("ledger", "unknown", "--csv").stdout)[0]["id"] == "7"
    assert list(daemon.asked["ListLedgerEntries"][0].states) == [message_pb2.ATTEMPT_STATE_UNKNOWN]
    assert "gpt-4o|mini" in run("ledger", "unknown").stdout
    assert json.loads(run("ledger", "unknown", "--json").stdout)["entries"][0]["id"] == "7"


def test_settle_and_release_say_what_is_booked(daemon, run):
    """Cost, tokens and note travel; the entry as it stands is said."""
    daemon.answers["SettleLedgerEntry"] = usage_pb2.SettleLedgerEntryResponse(entry=ENTRY)
    released = usage_pb2.LedgerEntry(id="7", state=message_pb2.ATTEMPT_STATE_RELEASED, cost_usd_nanos=0)
    daemon.answers["ReleaseLedgerEntry"] = usage_pb2.ReleaseLedgerEntryResponse(entry=released)
    assert run("ledger", "settle", "7", "--cost", "2.000000001", "--note", "bill").stdout == "Entry 7 is settled: $2.00.\n"
    asked = daemon.asked["SettleLedgerEntry"][0]
    assert (asked.entry_id, asked.cost_usd_nanos, asked.note, asked.HasField("usage")) == ("7", 2_000_000_001, "bill", False)
    assert json.loads(run("ledger", "settle", "7", "--input", "3", "--json").stdout)["id"] == "7"
    assert daemon.asked["SettleLedgerEntry"][1].usage.input_tokens == 3
    assert run("ledger", "release", "7").stdout == "Entry 7 is released: nothing.\n"


@pytest.mark.parametrize("words", [(), ("--cost", "1.0000000001"), ("--cost", "-1"), ("--cost", "x"), ("--cost", "NaN")])
def test_settle_refuses_what_is_no_cost(run, words):
    """Nothing, and what is no amount, ends with USAGE."""
    assert run("ledger", "settle", "7", *words).exit_code == Exit.USAGE


def test_record_books_a_call(daemon, run):
    """All that was typed travels; a warning goes to standard error."""
    daemon.answers["RecordUsage"] = usage_pb2.RecordUsageResponse(entry=ENTRY, created=True, warnings=["budget passed 50 %"])
    words = ("--request-id", "x", "--input", "10", "--output", "5", "--label", "team=a", "--time", "1h", "--session", "run-1")
    result = run("ledger", "record", "openai", "m", *words)
    assert "Entry 7 is booked: $2.00 for openai/m." in result.stdout
    assert "budget passed" in result.stderr
    asked = daemon.asked["RecordUsage"][0]
    assert (asked.provider, asked.usage.output_tokens, dict(asked.labels)) == ("openai", 5, {"team": "a"})
    assert asked.HasField("create_time")
    assert json.loads(run("ledger", "record", "openai", "m", *words, "--json").stdout)["created"] is True


def test_reprice_looks_first_and_asks(daemon, run):
    """A dry run comes first; nothing is corrected without --yes where nobody can be asked."""
    daemon.answers["RepriceLedger"] = usage_pb2.RepriceLedgerResponse(
        examined_count=5, changed_count=2, after_usd_nanos=3, models=[{"provider": "openai", "model": "m", "changed_count": 2}]
    )
    assert run("ledger", "reprice", "--dry-run").exit_code == 0
    assert run("ledger", "reprice").exit_code == Exit.USAGE
    assert [request.validate_only for request in daemon.asked["RepriceLedger"]] == [True, True]
    assert "Corrected 2: 0.000000003 USD." in run("ledger", "reprice", "--yes").stdout
    assert daemon.asked["RepriceLedger"][-1].validate_only is False
    assert json.loads(run("ledger", "reprice", "--dry-run", "--json").stdout)["changed_count"] == 2


def test_export_is_csv_or_lines(daemon, run):
    """Each entry is a line of either; both at once are refused."""
    daemon.answers["ExportLedger"] = [usage_pb2.ExportLedgerResponse(entries=[ENTRY, ENTRY])]
    told = [json.loads(line) for line in run("ledger", "export").stdout.splitlines()]
    assert [entry["cost_usd"] for entry in told] == ["2.000000000"] * 2
    row = lines(run("ledger", "export", "--csv", "--session", "run-1").stdout)[0]
    assert (row["usage_input_tokens"], row["flags"], row["labels"]) == ("10", "recorded, repriced", '{"team": "a"}')
    assert daemon.asked["ExportLedger"][1].filter.session == "run-1"
    assert run("ledger", "export", "--json").stdout == run("ledger", "export", "--jsonl").stdout
    for form in ("--jsonl", "--json"):
        assert run("ledger", "export", "--csv", form).exit_code == Exit.USAGE


def test_report_is_markdown_with_local_currency(daemon, run):
    """Dollars stand first, the currency of the settings behind them; names can't break a table."""
    daemon.answers |= {"GenerateReport": REPORT, "GetSettings": WON}
    shown = run("report", "monthly", "2026-11").stdout
    assert shown.startswith("# Report of 2026-11\n")
    assert "$2.00 (2,781.00 KRW)" in shown
    assert "1 USD = 1390.5 KRW, the rate of 2026-11-01." in shown
    assert "| gpt-4o\\|mini | 3 |" in shown
    assert "| prompt cache | 1 | -$0.0050" in shown
    assert "| team | 2026-11 | $4.00 | $2.00 | 50.0% |" in shown
    assert "## Unknown costs\n\nNone." in shown
    assert daemon.asked["GenerateReport"][0].month == "2026-11"


def test_report_runs_for_a_day_and_a_session(daemon, run):
    """A day and a session are asked for by name; CSV counts in nano-dollars alone."""
    daemon.answers |= {"GenerateReport": REPORT, "GetSettings": daemon_pb2.GetSettingsResponse()}
    assert "KRW" not in run("report", "daily", "2026-11-21").stdout
    rows = lines(run("report", "run", "run-1", "--csv").stdout)
    assert [row["section"] for row in rows] == ["total", "model", "savings", "budget", "dearest"]
    assert rows[0]["cost_usd_nanos"] == "2000000000"
    assert json.loads(run("report", "run", "run-1", "--json").stdout)["totals"]["call_count"] == 3
    assert [request.session for request in daemon.asked["GenerateReport"]] == ["", "run-1", "run-1"]


def test_report_of_today_goes_by_the_daemons_zone(daemon, run):
    """Without a day, the daemon's calendar says which one runs."""
    stats = usage_pb2.GetStatsResponse(time_zone="Asia/Seoul")
    stats.start_time.FromJsonString("2026-11-20T15:00:00Z")
    stats.end_time.FromJsonString("2026-11-20T16:00:00Z")
    daemon.answers |= {"GenerateReport": REPORT, "GetStats": stats}
    run("report", "daily")
    run("report", "monthly")
    assert [(request.date, request.month) for request in daemon.asked["GenerateReport"]] == [("2026-11-21", ""), ("", "2026-11")]


def test_savings_by_day_and_cause(daemon, run):
    """Each cause has its column; what cost more than it saved is below zero."""
    row = {"group": ["2026-11-21"], "totals": TOTALS}
    daemon.answers["GetStats"] = usage_pb2.GetStatsResponse(rows=[row], totals=TOTALS)
    shown = run("savings").stdout
    assert "Prompt cache" in shown
    assert "-$0.0050" in shown
    told = lines(run("savings", "--csv").stdout)[0]
    assert (told["time"], told["prompt_cache_usd_nanos"], told["cache_usd_nanos"]) == ("2026-11-21", "-5000000", "0")
    assert json.loads(run("savings", "--json", "--hourly").stdout)["totals"]["saved_usd_nanos"] == -5_000_000


def test_prices_are_listed_and_refreshed(daemon, run):
    """Rates stand in dollars for a million tokens; a refresh says which version came."""
    listed = {"provider": "openai", "model": "m", "price": {"input": "150", "source": "s"}, "in_force": True, "stale": True}
    daemon.answers["ListPrices"] = model_pb2.ListPricesResponse(prices=[listed])
    daemon.answers["RefreshPrices"] = model_pb2.RefreshPricesResponse(previous_version="1", version="2", changed_prices=[listed])
    assert "s (stale)" in run("prices").stdout
    assert lines(run("prices", "list", "--csv").stdout)[0]["price_input"] == "150"
    assert json.loads(run("prices", "list", "--json").stdout)["prices"][0]["in_force"] is True
    assert "Published prices: 1 before, 2 now." in run("prices", "refresh").stdout
    assert json.loads(run("prices", "refresh", "--json").stdout)["version"] == "2"


@pytest.mark.parametrize(
    "words",
    [
        ("cache", "list"),
        ("cache", "stats"),
        ("models", "list"),
        ("models", "policy"),
        ("models",),
        ("presets",),
        ("ledger", "list"),
        ("ledger", "reprice", "--dry-run"),
        ("budget", "show", "team"),
        ("complete", "hello", "--estimate"),
        ("config", "show"),
        ("config",),
        ("status",),
    ],
    ids=" ".join,
)
def test_every_table_is_csv_too(daemon, run, words):
    """A header stands over the rows even where there are none; --json beside it is refused."""
    daemon.answers["ListCacheEntries"] = cache_pb2.ListCacheEntriesResponse()
    result = run(*words, "--csv")
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()[0].split(",")) > 2
    assert run(*words, "--csv", "--json").exit_code == Exit.USAGE


WITHOUT_ROWS = {  # they show one thing as facts, or what they did
    *("budget set", "cache clear", "cache show", "explain", "models show", "prices refresh"),
    *("job submit", "job show", "job cancel"),
}


def shown_by(command, path=()):
    """Yield every command that shows something made by `render`: its words, and its options."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from shown_by(inner, (*path, name))
    if command.callback is not None and "render.show(" in inspect.getsource(inspect.unwrap(command.callback)):
        yield " ".join(path), {option for parameter in command.params for option in parameter.opts}


def test_every_command_that_shows_a_table_has_csv():
    """Whatever is shown as a table can be had as CSV."""
    shown = dict(shown_by(typer.main.get_command(app)))
    assert len(shown) > 15
    assert {words for words, options in shown.items() if "--csv" not in options} <= WITHOUT_ROWS


def test_amounts_stand_twice_in_csv():
    """Nano-dollars and dollars are both columns."""
    assert {"cost_usd_nanos", "cost_usd", "usage_input_tokens"} <= set(header(aigen.LedgerEntry))


def test_rate_of_the_day_is_chosen():
    """The latest rate that holds counts; before the first one, the first."""
    setting = lambda key, value: aigen.Setting(key=key, value_json=json.dumps(value), origin="file")  # noqa: E731
    rates = {"2026-01-01": "2", "2026-06-01": "3"}
    settings = [setting("currency.code", "EUR"), setting("currency.rates", rates)]
    assert [chosen(settings, datetime(2026, month, 2, tzinfo=UTC)).rate for month in (1, 5, 6)] == [2, 2, 3]
    assert chosen(settings, datetime(2025, 1, 1, tzinfo=UTC)).rate == 2
    assert chosen(settings[:1], None) == Currency()
    assert Currency(code="EUR").show(None) == "unknown"


def test_report_shows_no_cost_where_no_price_is_known(daemon, run):
    """What was paid at an unknown price is unknown in each table, never 0; CSV says of how many calls."""
    unpriced = usage_pb2.UsageTotals(call_count=2, unpriced_count=2)
    section = {"group_by": "GROUP_BY_MODEL", "rows": [{"group": ["odd"], "totals": unpriced}, {"group": ["m"], "totals": TOTALS}]}
    daemon.answers["GenerateReport"] = usage_pb2.GenerateReportResponse(totals=unpriced, sections=[section])
    text = run("report", "run", "run-1").stdout
    assert "| Cost | unknown |" in text
    assert "| odd | 2 | 0 | 0 | 0 | unknown | $0.00 |" in text
    shown = lines(run("report", "run", "run-1", "--csv").stdout)
    sums = [row for row in shown if row["section"] in ("total", "model")]
    assert [(row["name"], row["unpriced_calls"], row["cost_usd_nanos"]) for row in sums] == [
        ("", "2", ""),
        ("odd", "2", ""),
        ("m", "0", "2000000000"),
    ]
    told = json.loads(run("report", "run", "run-1", "--json").stdout)
    assert (told["totals"]["cost_usd_nanos"], told["totals"]["cost_usd"]) == (None, None)
    daemon.answers["GetStats"] = usage_pb2.GetStatsResponse(rows=[{"group": ["2026-11-21"], "totals": unpriced}], totals=unpriced)
    assert "unknown" in run("savings").stdout
    assert lines(run("savings", "--csv").stdout)[0]["cost_usd_nanos"] == ""


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
def test_report_of_a_session_that_no_call_has_is_not_found(daemon, run, form):
    """A misspelt session is refused in every form; one with a call under way is not."""
    daemon.answers["GenerateReport"] = usage_pb2.GenerateReportResponse(time_zone="UTC")
    result = run("report", "run", "nosuch", *form)
    assert (result.exit_code, result.stdout) == (Exit.NOT_FOUND, "")
    assert "no call has session 'nosuch'" in result.stderr
    daemon.answers["ListLedgerEntries"] = usage_pb2.ListLedgerEntriesResponse(entries=[ENTRY])
    assert run("report", "run", "nosuch", *form).exit_code == Exit.OK


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("savings", "--prefixes", "0"), "it is 0; allowed: a whole number from 1 to 1000"),
        (("savings", "--doctor", "--hourly"), "--hourly together with --doctor"),
        (("report", "run", ""), "it is empty; allowed: a name"),
        (("ledger", "list", "--session", ""), "it is empty; allowed: a name"),
        (("budget", "pause", "team", "--key", ""), "it is empty; allowed: a name"),
        (("budget", "resume", "team", "--key", ""), "it is empty; allowed: a name"),
        (
            ("ledger", "record", "p", "m", "--request-id", "x", "--label", "a=1", "--label", "a=2"),
            "'a=2' after 'a=1'; allowed: each key once",
        ),
        (
            ("budget", "set", "b", "--period", "daily", "--limit-usd", "1", "--select", "service=a", "--select", "service=b"),
            "each key once",
        ),
    ],
)
def test_what_can_not_be_meant_is_refused(run, words, said):
    """A value that is out of range, empty or given twice is named, and nothing is asked of the daemon."""
    refused = run(*words)
    assert refused.exit_code == Exit.USAGE
    assert said in " ".join(refused.stderr.replace("│", " ").split())
