"""What `stats`, `cache`, `ledger`, `models`, `status`, `config` and `drain` show, to people and to programs."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from aigen.v1 import cache_pb2, completion_pb2, daemon_pb2, message_pb2, model_pb2, usage_pb2
from aigenctl.exits import Exit
from google.protobuf.timestamp_pb2 import Timestamp

from tests.cli.scripted_daemon import ScriptedError


def at(text):
    """Return a moment as protobuf has it."""
    stamp = Timestamp()
    stamp.FromJsonString(text)
    return stamp


def totals(**fields):
    """Return sums with tokens and cost like those of a small run."""
    return usage_pb2.UsageTotals(
        call_count=fields.pop("call_count", 3),
        hit_count=1,
        miss_count=2,
        usage={
            "input_tokens": fields.pop("input_tokens", 12_000),
            "cache_read_tokens": 500,
            "output_tokens": fields.pop("output_tokens", 8_200),
        },
        cost_usd_nanos=fields.pop("cost_usd_nanos", 159_000_000),
        savings=[{"cause": "SAVINGS_CAUSE_CACHE", "call_count": 1, "saved_usd_nanos": 53_000_000}],
        **fields,
    )


STATS = usage_pb2.GetStatsResponse(
    rows=[
        {"group": ["anthropic"], "totals": totals()},
        {"group": ["openai"], "totals": totals(cost_usd_nanos=140_000_000)},
    ],
    totals=totals(
        call_count=6,
        input_tokens=24_000,
        output_tokens=16_400,
        cost_usd_nanos=299_000_000,
        latency={"p50_us": 900, "p90_us": 512_000, "p99_us": 900_000},
        mean_hit_latency_us=320.5,
        unknown_count=1,
        unknown_cost_usd_nanos=20_000_000,
        estimated_cost_usd_nanos=1_000_000,
        unpriced_count=2,
    ),
    start_time=at("2026-11-21T00:00:00Z"),
    end_time=at("2026-11-21T08:30:00Z"),
    time_zone="UTC",
)


def rows_of(shown):
    """Return the cells of a table, line by line."""
    return [[cell.strip() for cell in line.strip("│ \n").split("│")] for line in shown.splitlines()]


def test_stats_shows_rows_and_total(daemon, run):
    """Provider, calls, hits, input, output, cost and savings stand in each row and in the total, session and period on top."""
    daemon.answers["GetStats"] = STATS
    shown = run("stats", "--session", "run-1", "--period", "today").stdout
    lines = rows_of(shown)
    assert ["Provider", "Calls", "Hits", "Input", "Output", "Cost", "Saved"] in lines
    assert ["anthropic", "3", "1", "12,500", "8,200", "$0.1590", "$0.0530"] in lines
    assert ["Total", "6", "1", "24,500", "16,400", "$0.2990", "$0.0530"] in lines
    assert ["Session: run-1"] in lines
    assert ["Period:  today, 2026-11-21 00:00:00Z to 2026-11-21 08:30:00Z (UTC)"] in lines


def test_stats_says_what_no_sum_holds(daemon, run):
    """Savings by cause, latency, estimates, unknown outcomes and calls without a price are named under the table."""
    daemon.answers["GetStats"] = STATS
    shown = " ".join(run("stats").stdout.split())
    for part in (
        "Saved by cache: $0.0530 in 1 call",
        "p90 512.0 ms",
        "1 attempt, at most",
        "2 calls, in no sum",
        "$0.0010 of the cost (0.3%)",
        "$0.0200 on top (6.3% of both)",
    ):
        assert part in shown


def test_stats_asks_for_what_was_typed(daemon, run):
    """Range, zone, grouping and filters reach the daemon."""
    arguments = [
        "--since",
        "2026-11-01T00:00Z",
        "--until",
        "2026-11-02T00:00:00+09:00",
        "--time-zone",
        "Asia/Seoul",
        "--by",
        "agent",
        "--by",
        "LABEL",
    ]
    filters = [
        "--label-key",
        "team",
        "--label",
        "team=a",
        "--phase",
        "2",
        "--provider",
        "p",
        "--model",
        "m",
        "--agent",
        "a",
        "--service",
        "s",
        "--task",
        "t",
    ]
    assert run("stats", *arguments, *filters).exit_code == 0
    asked = daemon.asked["GetStats"][0]
    assert asked.start_time.ToJsonString() == "2026-11-01T00:00:00Z"
    assert asked.end_time.ToJsonString() == "2026-11-01T15:00:00Z"
    assert list(asked.group_by) == [usage_pb2.GROUP_BY_AGENT, usage_pb2.GROUP_BY_LABEL]
    expected = usage_pb2.UsageFilter(provider="p", model="m", agent="a", service="s", phase="2", task="t", labels={"team": "a"})
    assert (asked.time_zone, asked.label_key, asked.filter) == ("Asia/Seoul", "team", expected)


def test_stats_of_a_session(daemon, run):
    """`--period session` is all of the named session, else of the session of the newest charge that has one."""
    daemon.answers["ListLedgerEntries"] = usage_pb2.ListLedgerEntriesResponse(
        entries=[{"id": "3"}, {"id": "2", "session": "run-2"}, {"id": "1", "session": "run-1"}]
    )
    assert rows_of(run("stats", "--period", "session").stdout)[1:3] == [["Session: run-2"], ["Period:  session ()"]]
    run("stats", "--period", "session", "--session", "run-1")
    assert [asked.filter.session for asked in daemon.asked["GetStats"]] == ["run-2", "run-1"]
    assert {asked.period for asked in daemon.asked["GetStats"]} == {usage_pb2.PERIOD_UNSPECIFIED}


def test_stats_of_no_session_is_refused(daemon, run):
    """Where no charge has a session, the error says how to name one."""
    daemon.answers["ListLedgerEntries"] = usage_pb2.ListLedgerEntriesResponse(entries=[{"id": "3"}])
    found = run("stats", "--period", "session")
    assert found.exit_code == Exit.NOT_FOUND
    assert "name one with --session" in found.stderr
    assert run("stats", "--period", "session", "--since", "1h").exit_code == Exit.USAGE


def test_ages_count_back_from_now(daemon, run):
    """`--since 24h` is a day ago, to within the time that the test took."""
    run("stats", "--since", "24h")
    since = daemon.asked["GetStats"][0].start_time.ToDatetime(UTC)
    assert abs(datetime.now(UTC) - timedelta(days=1) - since) < timedelta(seconds=20)


def test_stats_as_json_is_exact(daemon, run):
    """With --json every amount stands as nano-dollars and as dollars, with the sum of all savings."""
    daemon.answers["GetStats"] = STATS
    shown = json.loads(run("stats", "--json").stdout)
    assert (shown["group_by"], shown["time_zone"], shown["start_time"]) == (["provider"], "UTC", "2026-11-21T00:00:00Z")
    row = shown["rows"][0]
    assert row["group"] == ["anthropic"]
    assert (row["totals"]["cost_usd_nanos"], row["totals"]["cost_usd"]) == (159_000_000, "0.159000000")
    assert shown["totals"]["saved_usd"] == "0.053000000"
    assert shown["totals"]["savings"][0] == {
        "cause": "cache",
        "call_count": 1,
        "saved_usd_nanos": 53_000_000,
        "saved_usd": "0.053000000",
    }


def test_stats_as_csv_has_a_line_a_row(daemon, run):
    """With --csv there is a header and one line a row, which a reader of CSV gets back."""
    daemon.answers["GetStats"] = STATS
    read = list(csv.DictReader(io.StringIO(run("stats", "--csv").stdout)))
    assert [row["provider"] for row in read] == ["anthropic", "openai"]
    assert (read[0]["cost_usd_nanos"], read[0]["cost_usd"], read[0]["cache_read_tokens"]) == ("159000000", "0.159000000", "500")


def test_cost_of_unpriced_calls_is_unknown(daemon, run):
    """Where no call of a row has a price, its cost reads unknown, and is null or empty for programs, never 0."""
    unpriced = usage_pb2.UsageTotals(call_count=1, unpriced_count=1)
    partly = usage_pb2.UsageTotals(call_count=2, unpriced_count=1, cost_usd_nanos=7)
    rows = [{"group": ["odd"], "totals": unpriced}, {"group": ["openai"], "totals": partly}]
    daemon.answers["GetStats"] = usage_pb2.GetStatsResponse(rows=rows, totals=unpriced)
    assert ["Total", "1", "0", "0", "0", "unknown", "$0.00"] in rows_of(run("stats").stdout)
    told = json.loads(run("stats", "--json").stdout)
    assert [told["totals"][name] for name in ("cost_usd_nanos", "cost_usd", "unpriced_count")] == [None, None, 1]
    read = list(csv.DictReader(io.StringIO(run("stats", "--csv").stdout)))
    assert [(row["cost_usd_nanos"], row["cost_usd"], row["unpriced_count"]) for row in read] == [
        ("", "", "1"),
        ("7", "0.000000007", "1"),  # control: what has a price is counted, with the number of those that have none beside it
    ]


def test_a_filter_that_nothing_matches_is_said(daemon, run):
    """A misspelt session shows no table of zeros."""
    daemon.answers["GetStats"] = usage_pb2.GetStatsResponse(totals=usage_pb2.UsageTotals(), time_zone="UTC")
    for words in (("stats", "--session", "nosuch"), ("savings", "--session", "nosuch")):
        shown = run(*words).stdout
        assert "No calls match." in shown
        assert "$0.00" not in shown
    daemon.answers["GetStats"] = STATS
    assert "No calls match." not in run("stats").stdout  # control


CACHE_STATS = cache_pb2.GetCacheStatsResponse(
    entry_count=156,
    size_bytes=12_500_000,
    max_size_bytes=500_000_000,
    hit_count=47,
    miss_count=153,
    eviction_count=12,
    mean_hit_latency_us=3_200,
    storing=True,
)


def test_cache_stats_shows_rates(daemon, run):
    """Entries, size, hit and miss rate, evictions and the mean latency of a hit are shown."""
    daemon.answers["GetCacheStats"] = CACHE_STATS
    shown = " ".join(run("cache", "stats").stdout.split())
    for part in (
        "Total Entries: 156",
        "Cache Size: 12.5 MB of 500.0 MB",
        "Hit Rate: 23.5%",
        "Miss Rate: 76.5%",
        "Evictions: 12",
        "Avg Hit Latency: 3.2 ms",
    ):
        assert part in shown


def test_empty_cache_has_no_rates(daemon, run):
    """Without a look-up there is no rate, and a cache that keeps nothing says so."""
    shown = " ".join(run("cache", "stats").stdout.split())
    assert "Hit Rate: - " in shown
    assert "no: calls pass through" in shown
    assert json.loads(run("cache", "stats", "--json").stdout)["mean_hit_latency_us"] is None


def entry(number, **fields):
    """Return the n-th cache entry."""
    times = {"create_time": at("2026-11-21T08:00:00Z"), "expire_time": at("2026-11-22T08:00:00Z")}
    return cache_pb2.CacheEntry(
        key=bytes([number]) * 32, provider="openai", model="gpt-4o", agent="chatgpt", size_bytes=2_048, **times, **fields
    )


def pages(count):
    """Return a handler that gives one entry a page."""

    def page(message):
        number = int(message.page_token or 0)
        following = str(number + 1) if number + 1 < count else ""
        return cache_pb2.ListCacheEntriesResponse(entries=[entry(number)], next_page_token=following)

    return page


def test_cache_list_stops_at_its_limit(daemon, run):
    """`--limit` shows that many and says that there is more; 0 reads all pages."""
    daemon.answers["ListCacheEntries"] = pages(5)
    limited = run("cache", "list", "--limit", "2", "--provider", "openai", "--older-than", "1h")
    assert limited.stdout.count("chatgpt") == 2
    assert "There are more" in limited.stdout
    assert (daemon.asked["ListCacheEntries"][0].filter.provider, daemon.asked["ListCacheEntries"][0].filter.older_than.seconds) == (
        "openai",
        3_600,
    )
    whole = json.loads(run("cache", "list", "--limit", "0", "--json").stdout)
    assert (len(whole["entries"]), whole["more"]) == (5, False)


def test_cache_prefixes_shows_what_was_decided(daemon, run):
    """One row a decision with its reason, as a table, as JSON and as CSV."""
    row = cache_pb2.PrefixDecision(
        provider="anthropic", model="m", prefix="ab12", tokens=5_000, mark_count=1, ttl_seconds=300, reason="comes again",
        expected_gain_usd_nanos=5_000_000, decision="adaptive",
    )  # fmt: skip
    daemon.answers["ListPrefixDecisions"] = cache_pb2.ListPrefixDecisionsResponse(decisions=[row, cache_pb2.PrefixDecision()])
    shown = run("cache", "prefixes", "--model", "m").stdout
    assert all(word in shown for word in ("ab12", "5,000", "300 s", "$0.0050", "adaptive"))
    assert daemon.asked["ListPrefixDecisions"][0].model == "m"
    (decision, _) = json.loads(run("cache", "prefixes", "--json").stdout)["decisions"]
    assert decision["reason"] == "comes again"
    assert "comes again" in run("cache", "prefixes", "--csv").stdout
    assert "There are more" in run("cache", "prefixes", "--limit", "1").stdout


def test_names_are_shown_as_they_are(daemon, run):
    """A name that looks like markup or steers a terminal is shown, not obeyed."""
    hostile = cache_pb2.CacheEntry(key=b"k" * 32, provider="[red]p[/red]", model="m\x1b[2J")
    daemon.answers["ListCacheEntries"] = cache_pb2.ListCacheEntriesResponse(entries=[hostile])
    shown = run("cache", "list").stdout
    assert "[red]p[/red]" in shown
    assert "m\\x1b[2J" in shown


def test_cache_show_takes_a_prefix(daemon, run):
    """The first digits of a key are enough where they tell it apart, and the answer is shown."""
    daemon.answers["ListCacheEntries"] = cache_pb2.ListCacheEntriesResponse(entries=[entry(7)])
    response = completion_pb2.CompleteResponse(text="Blue.", usage={"input_tokens": 3})
    daemon.answers["GetCacheEntry"] = cache_pb2.GetCacheEntryResponse(
        entry=entry(7, saved_per_hit_usd_nanos=5_000_000), response=response
    )
    shown = run("cache", "show", "0707").stdout
    assert daemon.asked["GetCacheEntry"][0].key == bytes([7]) * 32
    assert "Blue." in shown
    assert "$0.0050" in shown
    assert json.loads(run("cache", "show", "07" * 32, "--json").stdout)["answer"]["text"] == "Blue."
    assert len(daemon.asked["ListCacheEntries"]) == 1


@pytest.mark.parametrize(("found", "code"), [(0, Exit.NOT_FOUND), (2, Exit.USAGE)], ids=["none", "two"])
def test_cache_show_refuses_what_names_no_single_entry(daemon, run, found, code):
    """A prefix of no key is not found, one of two keys is asked to be longer."""
    daemon.answers["ListCacheEntries"] = cache_pb2.ListCacheEntriesResponse(entries=[entry(number) for number in range(found)])
    assert run("cache", "show", "0").exit_code == code
    assert "GetCacheEntry" not in daemon.asked


def test_ledger_list_shows_charges(daemon, run):
    """Each charge is a row; what is open or unknown shows its upper bound."""
    settled = usage_pb2.LedgerEntry(
        id="1", state="ATTEMPT_STATE_SETTLED", provider="openai", cost_usd_nanos=5_000_000, usage={"input_tokens": 9}
    )
    unknown = usage_pb2.LedgerEntry(
        id="2", state="ATTEMPT_STATE_UNKNOWN", provider="openai", reserved_usd_nanos=20_000_000, flags=["reset"]
    )
    released = usage_pb2.LedgerEntry(id="3", state="ATTEMPT_STATE_RELEASED", provider="google")
    daemon.answers["ListLedgerEntries"] = usage_pb2.ListLedgerEntriesResponse(entries=[settled, unknown, released])
    shown = run("ledger", "list", "--state", "settled", "--state", "UNKNOWN", "--request-id", "r1", "--session", "s").stdout
    assert "$0.0050" in shown
    assert "≤ $0.02" in shown
    assert next(row for row in rows_of(shown) if "google" in row)[8:11] == ["-", "-", "$0.00"]
    asked = daemon.asked["ListLedgerEntries"][0]
    assert list(asked.states) == [message_pb2.ATTEMPT_STATE_SETTLED, message_pb2.ATTEMPT_STATE_UNKNOWN]
    assert (asked.request_id, asked.filter.session) == ("r1", "s")
    entries = json.loads(run("ledger", "list", "--json").stdout)["entries"]
    assert [item["cost_usd"] for item in entries] == ["0.005000000", None, None]


MODEL = model_pb2.Model(
    id="gpt-4o",
    provider="openai",
    aliases=["4o"],
    agents=["chatgpt"],
    tier="MODEL_TIER_ADVANCED",
    capabilities=["MODEL_CAPABILITY_VISION", "MODEL_CAPABILITY_JSON_SCHEMA"],
    context_tokens=128_000,
    price={
        "price_entry_id": "p1",
        "input": "2500",
        "output": "10000",
        "cache_read": "1250",
        "source": "table",
        "checked_on": "2026-02-16",
    },
    available=True,
)


def test_models_show_prices_a_million_tokens(daemon, run):
    """Rates are shown in dollars for a million tokens; a model without a price is unknown."""
    daemon.answers["ListModels"] = model_pb2.ListModelsResponse(models=[MODEL, model_pb2.Model(id="tiny", provider="local")])
    lines = rows_of(run("models", "list", "--tier", "advanced", "--capability", "vision").stdout)
    assert ["openai", "gpt-4o", "4o", "chatgpt", "advanced", "128,000", "2.5", "10", "yes"] in lines
    assert ["local", "tiny", "-", "-", "-", "-", "unknown", "unknown", "no"] in lines
    assert daemon.asked["ListModels"][0].tier == model_pb2.MODEL_TIER_ADVANCED
    price = json.loads(run("models", "list", "--json", "--limit", "1").stdout)["models"][0]["price"]
    assert (price["input"], price["input_usd_per_million"], price["cache_write_1h_usd_per_million"]) == ("2500", "2.5", None)
    row = next(csv.DictReader(io.StringIO(run("models", "list", "--csv").stdout)))
    assert (row["price_input"], row["price_input_usd_per_million"], row["price_cache_write_1h_usd_per_million"]) == (
        "2500",
        "2.5",
        "",
    )


def test_model_is_shown_whole(daemon, run):
    """One model is shown with its limits, rates and where they come from."""
    daemon.answers["GetModel"] = model_pb2.GetModelResponse(model=MODEL)
    shown = " ".join(run("models", "show", "chatgpt").stdout.split())
    for part in ("vision, json schema", "Cache read: 1.25 $/M tokens", "table, checked 2026-02-16", "Context: 128,000 tokens"):
        assert part in shown
    assert daemon.asked["GetModel"][0].model == "chatgpt"
    assert json.loads(run("models", "show", "4o", "--json").stdout)["id"] == "gpt-4o"
    daemon.answers["GetModel"] = model_pb2.GetModelResponse(model={"id": "tiny", "provider": "local"})
    assert "Price: unknown" in run("models", "show", "tiny").stdout


STATUS = daemon_pb2.GetStatusResponse(
    version="0.1.0",
    process_id=42,
    state="DAEMON_STATE_SERVING",
    in_flight_count=3,
    providers=[
        {
            "name": "openai",
            "adapter": "openai",
            "loaded": True,
            "in_flight_count": 2,
            "queued_count": 7,
            "slot_count": 5,
            "keys": [{"number": 1, "circuit": "closed"}],
        },
        {
            "name": "google",
            "adapter": "gemini",
            "keys": [
                {"number": 1, "circuit": "open", "refused": True, "retry_delay": {"seconds": 12}},
                {"number": 3, "circuit": "half_open", "failure_count": 5},
            ],
        },
    ],
    budgets=[
        {"name": "demo", "window": "2026-11-21", "limit_usd_nanos": 10**9, "spent_usd_nanos": 250_000_000, "action": "refuse"}
    ],
    warnings=["prices are old"],
)


def test_status_shows_providers_and_budgets(daemon, run):
    """State, warnings, providers and budgets are shown."""
    daemon.answers["GetStatus"] = STATUS
    shown = run("status").stdout
    assert ["openai", "openai", "yes", "2 of 5", "7", "-"] in rows_of(shown)
    why = "key 1 (refused; tried again in 12 s), key 3 (failed 5 times; tried again in 0 s)"
    assert ["google", "gemini", "no", "0 of 0", "0", why] in rows_of(shown)
    assert ["demo", "2026-11-21", "refuse", "$1.00", "$0.2500", "$0.00", "-"] in rows_of(shown)
    assert "SERVING" in shown
    assert "prices are old" in shown
    assert json.loads(run("status", "--json").stdout)["budgets"][0]["limit_usd"] == "1.000000000"


def test_status_as_csv_has_a_line_a_provider_and_a_budget(daemon, run):
    """Both tables stand below one header, told apart by their section."""
    daemon.answers["GetStatus"] = STATUS
    read = list(csv.DictReader(io.StringIO(run("status", "--csv").stdout)))
    assert [(row["section"], row["name"]) for row in read] == [("provider", "openai"), ("provider", "google"), ("budget", "demo")]
    assert (read[0]["in_flight_count"], read[0]["slot_count"], read[0]["loaded"], read[0]["window"]) == ("2", "5", "true", "")
    assert (read[2]["window"], read[2]["limit_usd_nanos"], read[2]["adapter"]) == ("2026-11-21", "1000000000", "")


def test_status_tells_of_an_inbox_where_lines_wait(daemon, run):
    """Without one, or with nothing in it, there is no such line."""
    assert "Inbox" not in run("status").stdout
    daemon.answers["GetStatus"] = daemon_pb2.GetStatusResponse(intake_waiting_count=1_200)
    assert "1,200 lines wait" in run("status").stdout
    assert json.loads(run("status", "--json").stdout)["intake_waiting_count"] == 1_200


def test_fresh_daemon_has_no_tables(daemon, run):
    """Without providers and budgets the panel ends with the facts."""
    assert "Budget" not in run("status").stdout


SETTINGS = daemon_pb2.GetSettingsResponse(settings=[{"key": "cache.ttl_s", "value_json": "86400.0", "origin": "default"}])


def test_config_shows_and_gets(daemon, run):
    """All settings are shown with their origin; one is printed bare, or as JSON."""
    daemon.answers["GetSettings"] = SETTINGS
    assert ["cache.ttl_s", "86400.0", "default"] in rows_of(run("config", "show").stdout)
    assert run("config", "get", "cache.ttl_s").stdout == "86400.0\n"
    assert json.loads(run("config", "get", "cache.ttl_s", "--json").stdout)["origin"] == "default"
    assert json.loads(run("config", "show", "--json").stdout)["settings"][0]["key"] == "cache.ttl_s"


@pytest.mark.parametrize(("key", "hint"), [("cache.tll_s", "did you mean cache.ttl_s?"), ("zzz", "config show lists all")])
def test_unknown_setting_names_the_nearest(daemon, run, key, hint):
    """A key that does not exist ends with 3 and a hint."""
    daemon.answers["GetSettings"] = SETTINGS
    result = run("config", "get", key)
    assert result.exit_code == Exit.NOT_FOUND
    assert hint in result.stderr


def test_unknown_setting_as_json(daemon, run):
    """With --json a key that does not exist is an error object like every other."""
    result = run("config", "get", "zzz", "--json")
    assert json.loads(result.stderr)["error"]["reason"] == "NOT_FOUND"


def test_model_that_does_not_exist_is_refused(daemon, run):
    """The daemon's refusal is passed on with its exit code."""
    daemon.answers["GetModel"] = ScriptedError("INVALID_ARGUMENT", "UNKNOWN_MODEL", "no model is called x")
    assert run("models", "show", "x").exit_code == Exit.REFUSED


@pytest.mark.parametrize("noun", ["models", "config"])
def test_noun_alone_shows_all(daemon, run, noun):
    """`models` and `config` alone do what their first command does, with its options behind the noun."""
    daemon.answers["ListModels"] = model_pb2.ListModelsResponse(models=[MODEL])
    daemon.answers["GetSettings"] = SETTINGS
    first = {"models": "list", "config": "show"}[noun]
    assert run(noun).stdout == run(noun, first).stdout
    assert run(noun, "--json").stdout == run(noun, first, "--json").stdout
    assert run(noun, "--json", first).exit_code == Exit.USAGE
