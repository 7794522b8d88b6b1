"""What `explain`, the prompt-cache doctor and archives show at the command line."""

import gzip
import json

import pytest
from aigen.v1 import completion_pb2, message_pb2, usage_pb2
from aigenctl.exits import Exit

from tests.cli.scripted_daemon import ScriptedError

EXPLAINED = completion_pb2.ExplainCompletionResponse(
    request_id="r-1",
    state=message_pb2.ATTEMPT_STATE_SETTLED,
    requested_model="opus",
    session="run-1",
    labels={"team": "a"},
    archive_file="",
    attempts=[
        {
            "entry_id": "7",
            "attempt_number": 1,
            "state": "ATTEMPT_STATE_UNKNOWN",
            "reason": "timeout",
            "provider": "openai",
            "model": "m",
            "unknown_low_usd_nanos": 3,
            "unknown_high_usd_nanos": 800,
            "price_entry_id": "gone",
        },
        {
            "entry_id": "8",
            "attempt_number": 2,
            "state": "ATTEMPT_STATE_SETTLED",
            "provider": "anthropic",
            "model": "m",
            "resolved_model": "m-1",
            "cost_usd_nanos": 154_650,
            "cost_basis": "COST_BASIS_PRICED",
            "flags": ["over_reservation"],
            "decisions": ["budget all is short in window 2026-11: anthropic/m in place of anthropic/n"],
            "prefix": "aaaa",
            "read_prefix": "bbbb",
            "write_premium_usd_nanos": 12,
            "savings": [{"cause": "SAVINGS_CAUSE_PROMPT_CACHE", "saved_usd_nanos": -12}],
            "windows": [{"budget": "all", "window": "2026-11", "spent_usd_nanos": 5, "limit_usd_nanos": 10}, {"budget": "old"}],
            "arithmetic": {
                "price_entry_id": "user:m",
                "source": "prices.yaml",
                "checked_on": "2026-11-01",
                "above_tokens": 200_000,
                "lines": [
                    {"name": "input", "count": 1_003, "rate": "0.15", "usd_nanos": "150450"},
                    {"name": "cache_read", "count": 5, "stand_in": True},
                    {"name": "search", "count": 1, "rate": "0.005", "usd_nanos": "5000000"},
                ],
                "exact_usd_nanos": "154650",
                "cost_usd_nanos": 154_650,
            },
        },
    ],
    free_answers=[{"cache_outcome": "CACHE_OUTCOME_HIT", "provider": "p", "model": "m", "saved_usd_nanos": 9, "total_us": 40}],
    refusals=[{"reason": "BUDGET_EXCEEDED", "text": "budget all has 0 left", "budget": "all"}],
)
DIAGNOSED = usage_pb2.DiagnosePromptCacheResponse(
    prefix_count=3,
    never_read_count=1,
    premium_usd_nanos=2_000_000,
    prefixes=[
        {
            "prefix": "aaaa",
            "provider": "anthropic",
            "model": "m",
            "write_count": 2,
            "premium_usd_nanos": 2_000_000,
            "reads_needed": "0.28",
            "advice": ["written 2 times and never read"],
            "decision": "adaptive: it pays",
        },
        {"provider": "openai", "model": "m", "read_count": 1, "saved_usd_nanos": 5},
    ],
    archive_files=["/a/ledger-2026-01.jsonl.gz"],
)
ARCHIVES = usage_pb2.ListLedgerArchivesResponse(
    archives=[{"month": "2026-01", "file": "/a/ledger-2026-01.jsonl.gz", "done": True, "attempt_count": 5, "size_bytes": 900}]
)
HEADER = {"format": "aigen ledger archive", "version": 1}
ATTEMPT = {
    **dict.fromkeys(("model", "resolved_model", "agent", "service", "session", "phase", "task", "price_entry_id"), ""),
    **dict.fromkeys(("cache_write_5m_tokens", "cache_write_1h_tokens", "reasoning_tokens", "searches"), 0),
    "row": "attempt",
    "id": 7,
    "request_id": "r-7",
    "attempt_number": 1,
    "provider": "openai",
    "provider_usage_json": "",
    "provider_us": None,
    "state": "settled",
    "labels": '{"team":"a"}',
    "outcome": "miss",
    "cost_nanos": 2_000_000_000,
    "cost_basis": "priced",
    "flags": '["recorded"]',
    "create_us": 1_767_225_600_000_001,
    "update_us": 1_767_225_600_000_002,
    "input_tokens": 10,
    "cache_read_tokens": 0,
    "output_tokens": 5,
    "savings": '{"prompt_cache": -5}',
}


def _archive(folder, *rows):
    path = folder / "a.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return str(path)


def test_explain_shows_every_part_of_a_cost(daemon, run):
    """Attempts with their arithmetic, bounds, budgets, decisions, savings, refusals and free answers."""
    daemon.answers["ExplainCompletion"] = EXPLAINED
    shown = " ".join(run("explain", "r-1").stdout.replace("│", " ").split())
    for text in (
        "timeout",
        "0.000000003 to 0.000000800 USD",
        "gone; its rates are not shown",
        "150450",
        "$0.15/M",
        "$0.005 each",
        "a dearer rate",
        "prices.yaml",
        "not what is booked",
        "200,000",
        "in place of anthropic/n",
        "BUDGET_EXCEEDED by budget all",
        "saved 0.000000009 USD",
        "over_reservation",
        "answered as m-1",
        "prefix bbbb",
    ):
        assert text in shown, text
    assert daemon.asked["ExplainCompletion"][0].request_id == "r-1"
    told = json.loads(run("explain", "r-1", "--json").stdout)
    assert told["attempts"][1]["arithmetic"]["lines"][0]["usd_nanos"] == "150450"
    assert told["attempts"][0]["cost_usd"] is None
    assert told["attempts"][1]["arithmetic"]["exact_usd"] == "0.000154650"


def test_explain_of_an_archived_id_names_its_file(daemon, run):
    """Where its attempts are not here any more, it says where they are."""
    daemon.answers["ExplainCompletion"] = completion_pb2.ExplainCompletionResponse(request_id="r", archive_file="/a/x.gz")
    assert "/a/x.gz" in run("explain", "r").stdout


def test_explain_of_an_unknown_id_fails(daemon, run):
    """The daemon's text is shown."""
    daemon.answers["ExplainCompletion"] = ScriptedError("NOT_FOUND", "NOT_FOUND", "nothing is known of request id 'x'")
    result = run("explain", "x")
    assert result.exit_code != 0
    assert "nothing is known of request id 'x'" in result.stderr


def test_savings_show_the_doctor_below(daemon, run):
    """The table over time, then prefix by prefix, with advice and files that were not looked at."""
    daemon.answers["DiagnosePromptCache"] = DIAGNOSED
    shown = run("savings", "--session", "run-1").stdout
    for text in (
        "3 prefixes, 1 never read",
        "0.28 reads",
        "written 2 times and never read",
        "not marked",
        "adaptive: it pays",
        "/a/",
    ):
        assert text in shown, text
    asked = daemon.asked["DiagnosePromptCache"][0]
    assert (asked.filter.session, asked.prefix_count) == ("run-1", 10)
    assert json.loads(run("savings", "--json").stdout)["prompt_cache"]["prefix_count"] == 3


def test_savings_show_the_doctor_alone(daemon, run):
    """As a table, as CSV with a line a prefix, as JSON."""
    daemon.answers["DiagnosePromptCache"] = DIAGNOSED
    assert "Prompt caches" in run("savings", "--doctor").stdout
    assert run("savings", "--doctor", "--csv").stdout.splitlines()[1].startswith("aaaa,anthropic,m,")
    assert len(json.loads(run("savings", "--doctor", "--json", "--prefixes", "5").stdout)["prefixes"]) == 2
    assert "GetStats" not in daemon.asked
    assert run("savings", "--doctor", "--prefixes", "0").exit_code == Exit.USAGE


def test_archives_are_listed(daemon, run):
    """One row a month, as a table, CSV and JSON."""
    daemon.answers["ListLedgerArchives"] = ARCHIVES
    assert "/a/ledger-2026-01.jsonl.gz" in run("ledger", "archives").stdout
    assert run("ledger", "archives", "--csv").stdout.splitlines()[1].startswith("2026-01,")
    assert json.loads(run("ledger", "archives", "--json").stdout)["archives"][0]["attempt_count"] == 5


def test_an_export_says_what_is_archived(daemon, run):
    """Charges of the range that are in files are named on standard error; another range has none."""
    daemon.answers |= {"ListLedgerArchives": ARCHIVES, "ExportLedger": []}
    assert "/a/ledger-2026-01.jsonl.gz" in run("ledger", "export").stderr
    assert run("ledger", "export", "--since", "2026-02-01T00:00Z").stderr == ""
    assert run("ledger", "export", "--until", "2026-01-01T00:00Z").stderr == ""  # the end is exclusive


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--session", "run-1"), 0),
        (("--provider", "openai", "--label", "team=a"), 2),
        (("--label", "team=b"), 0),
        (("--since", "2026-01-01T00:00Z", "--until", "2026-01-01T00:01Z"), 2),
        (("--until", "2026-01-01T00:00Z"), 0),
        (("--since", "2026-01-01T00:01Z"), 0),
    ],
)
def test_an_archive_is_exported_by_what_was_asked_for(tmp_path, run, words, count):
    """Filters and times hold for a file as they hold for the ledger."""
    path = _archive(tmp_path, HEADER, ATTEMPT, ATTEMPT | {"id": 8})
    assert len(run("ledger", "export", "--archive", path, *words).stdout.splitlines()) == count


def test_an_archive_is_exported_without_a_daemon(tmp_path, daemon, run):
    """The same columns and keys as an export of the ledger."""
    path = _archive(tmp_path, HEADER, {"row": "operation"}, ATTEMPT, ATTEMPT | {"state": "released", "input_tokens": None})
    settled, released = [json.loads(line) for line in run("ledger", "export", "--archive", path).stdout.splitlines()]
    assert (settled["id"], settled["cost_usd"], settled["labels"]) == ("7", "2.000000000", {"team": "a"})
    assert settled["savings"][0]["saved_usd_nanos"] == -5
    assert settled["create_time"] == "2026-01-01T00:00:00.000001Z"
    assert (released["cost_usd_nanos"], released["usage"], released["cost_basis"]) == (0, None, None)
    daemon.answers["ExportLedger"] = []
    columns = run("ledger", "export", "--csv").stdout.splitlines()[0]
    assert run("ledger", "export", "--archive", path, "--csv").stdout.splitlines()[0] == columns


def test_what_is_no_archive_is_refused(tmp_path, run):
    """Another file, a cut one, none: said by its option."""
    (tmp_path / "text").write_text("no archive")
    whole = _archive(tmp_path, HEADER, ATTEMPT)
    (tmp_path / "cut").write_bytes((tmp_path / "a.jsonl.gz").read_bytes()[:-12])
    foreign = _archive(tmp_path / "..", {"format": "another"})
    for path in (str(tmp_path / "text"), str(tmp_path / "cut"), foreign, str(tmp_path / "none")):
        result = run("ledger", "export", "--archive", path)
        assert result.exit_code == Exit.USAGE
        assert "--archive is" in result.stderr
    assert whole


def test_reports_and_repricing_name_archived_files(daemon, run):
    """What could not be looked at is said with the sums."""
    file = "/a/ledger-2026-01.jsonl.gz"
    daemon.answers["GenerateReport"] = usage_pb2.GenerateReportResponse(time_zone="UTC", archive_files=[file])
    daemon.answers["RepriceLedger"] = usage_pb2.RepriceLedgerResponse(archive_files=[file])
    assert "archived in /a/ledger" in run("report", "monthly", "2026-01").stdout
    assert f"{file}: not looked at" in run("ledger", "reprice", "--dry-run").stdout
