"""`aigenctl job`: what is read from files, sent, and shown."""

import csv
import io
import json
from pathlib import Path

import pytest
from aigen.v1 import batch_job_pb2 as pb
from aigen.v1 import completion_pb2
from aigenctl import job as command
from aigenctl.exits import Exit
from google.rpc import status_pb2

from tests.cli.scripted_daemon import ScriptedError

JOB = pb.BatchJob(
    id="nightly",
    state=pb.BATCH_JOB_STATE_RUNNING,
    item_count=3,
    waiting_count=1,
    submitted_count=1,
    answered_count=1,
    cost_usd_nanos=1_500_000,
    saved_usd_nanos=1_500_000,
    labels={"team": "red"},
)
ENDED = pb.BatchJob(id="nightly", state=pb.BATCH_JOB_STATE_ENDED, item_count=3, answered_count=2, failed_count=1)
ENDED.end_time.FromSeconds(1_700_000_000)
LONG = "yes " * 40
ANSWER = pb.StreamBatchJobResultsResponse(
    index=0, request_id="nightly/0", response=completion_pb2.CompleteResponse(text="yes " * 40)
)
ERROR = pb.StreamBatchJobResultsResponse(index=1, request_id="mine", status=status_pb2.Status(code=10, message="not run"))


@pytest.fixture
def filled(daemon):
    """Return a daemon with one job."""
    daemon.answers |= {
        "CreateBatchJob": pb.CreateBatchJobResponse(job=JOB),
        "GetBatchJob": pb.GetBatchJobResponse(job=JOB),
        "ListBatchJobs": pb.ListBatchJobsResponse(jobs=[JOB]),
        "CancelBatchJob": pb.CancelBatchJobResponse(job=JOB),
        "StreamBatchJobResults": [ANSWER, ERROR],
    }
    return daemon


def requests(folder: Path, *lines: object) -> str:
    """Write a file of requests and return its path."""
    path = folder / "requests.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return str(path)


def test_submit_sends_every_line(filled, run, tmp_path: Path):
    """Prompts, conversations, options and ids arrive as the contract spells them; empty lines are skipped."""
    file = requests(
        tmp_path,
        {"prompt": "one", "model": "gpt-4o", "temperature": 0.5},
        "",
        {"messages": [{"role": "user", "content": "two"}], "request_id": "mine", "tools": [{"name": "f", "parameters": {}}]},
        {"prompt": "three", "complete_by": "2030-01-01T00:00:00Z", "response_format": {"type": "json"}},
    )
    result = run("job", "submit", file, "--id", "nightly", "--model", "claude", "--session", "s", "--label", "team=red")
    assert result.exit_code == 0, result.output
    [sent] = filled.asked["CreateBatchJob"]
    first, second, third = (item.completion for item in sent.items)
    assert (first.prompt, first.model, first.temperature) == ("one", "gpt-4o", 0.5)
    assert (second.model, sent.items[1].request_id, second.tools[0].name) == ("claude", "mine", "f")
    assert (third.complete_by.seconds, third.response_format.type) == (1_893_456_000, 2)
    assert (filled.accounts[0].session, dict(filled.accounts[0].labels)) == ("s", {"team": "red"})
    assert "nightly" in result.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 is no JSON"),
        ("[]", "line 2 is list; allowed: a JSON object"),
        ({"prompt": "x", "modell": "y"}, "line 2: field 'modell' is not known; allowed: prompt, messages, request_id, "),
        ({"model": "y"}, "line 2: neither prompt nor messages"),
        ({"prompt": "x", "messages": []}, "line 2: both prompt and messages"),
        ({"prompt": "x", "request_id": 7}, "line 2: request_id is 7"),
        ({"prompt": 5}, "line 2: prompt is 5; allowed: a text"),
        ({"prompt": {"a": "b" * 90}}, 'line 2: prompt is {"a": "' + "b" * 50 + "...; allowed: a text"),
        ({"messages": "two"}, 'line 2: messages is "two"; allowed: a list of objects with role and content'),
        ({"prompt": "x", "lane": "flex"}, 'line 2: lane is "flex"; allowed: deferred, or none: lines of a job are always deferred'),
        ({"prompt": "x", "complete_by": "soon"}, "line 2: complete_by is 'soon'"),
        ({"prompt": "x", "tools": [{"nom": "f"}]}, "line 2: tools[0] can't be used"),
        ({"prompt": "x", "temperature": "hot"}, "line 2: temperature"),
    ],
)
def test_bad_line_is_named_and_nothing_is_sent(filled, run, tmp_path: Path, line: object, said: str):
    """The refusal names file, line and field."""
    result = run("job", "submit", requests(tmp_path, {"prompt": "good"}, line))
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert not filled.asked["CreateBatchJob"]


def test_daemons_refusal_names_the_line(filled, run, tmp_path: Path):
    """An item that the daemon refuses is told with the line that it stands in."""
    text = "items[1]: model is 'nothing'; allowed: a model"
    filled.answers["CreateBatchJob"] = ScriptedError("INVALID_ARGUMENT", "UNKNOWN_MODEL", text, field="items[1].completion.model")
    result = run("job", "submit", requests(tmp_path, {"prompt": "good"}, "", {"prompt": "bad"}))
    assert result.exit_code == 2
    assert "line 3: completion.model: " in " ".join(result.stderr.replace("│", " ").split())


def test_line_that_says_it_is_deferred_is_taken(filled, run, tmp_path: Path):
    """Files of an inbox name the lane; in a job it is the only one."""
    assert (
        run("job", "submit", requests(tmp_path, {"prompt": "a", "lane": "deferred"}, {"prompt": "b", "lane": None})).exit_code == 0
    )
    [sent] = filled.asked["CreateBatchJob"]
    assert [item.completion.prompt for item in sent.items] == ["a", "b"]


@pytest.mark.parametrize("option", ["--id", "--model", "--agent", "--service", "--phase", "--session", "--task", "--label"])
def test_empty_name_is_refused(filled, run, tmp_path: Path, option: str):
    """A variable of the shell that is not set must not put a job on nobody's account."""
    result = run("job", "submit", requests(tmp_path, {"prompt": "a"}), option, "")
    assert (result.exit_code, "it is empty; allowed: " in " ".join(result.stderr.split())) == (2, True)
    assert not filled.asked["CreateBatchJob"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("2020-01-01", "--complete-by is '2020-01-01', which has passed; allowed: a moment to come: ISO 8601, such as "),
        ("0s", "--complete-by is '0s', which has passed"),
        ("tomorrow", "--complete-by is 'tomorrow'; allowed: a moment to come"),
    ],
)
def test_time_that_is_none_or_has_passed_is_refused(filled, run, tmp_path: Path, typed: str, said: str):
    """What was typed is repeated as it was, with what is allowed."""
    result = run("job", "submit", requests(tmp_path, {"prompt": "a"}), "--complete-by", typed)
    assert (result.exit_code, said in " ".join(result.stderr.replace("│", " ").split())) == (2, True)
    assert not filled.asked["CreateBatchJob"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\n"])
def test_file_without_requests_is_refused(filled, run, tmp_path: Path, content: bytes):
    """An empty file, and one that is no text, hand in nothing."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(content)
    assert run("job", "submit", str(path)).exit_code == 2
    assert run("job", "submit", str(tmp_path / "nothing")).exit_code == 2
    assert not filled.asked["CreateBatchJob"]


@pytest.fixture(autouse=True)
def _ends(filled):
    """Let the second look at a job find it ended."""
    looks = iter([JOB, ENDED])
    filled.answers["GetBatchJob"] = lambda _: pb.GetBatchJobResponse(job=next(looks, ENDED))


def test_submit_waits_and_tells_how_far_it_is(filled, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With --wait each change is told on standard error until the end."""
    monkeypatch.setattr(command, "BETWEEN_S", 0.0)
    result = run("job", "submit", requests(tmp_path, {"prompt": "a"}), "--wait", "--json")
    assert "1 of 3 requests ended" in result.stderr
    assert json.loads(result.stdout)["state"] == "ended"


@pytest.mark.parametrize(("failed", "code"), [(0, Exit.OK), (1, Exit.UNANSWERED), (3, Exit.UNANSWERED)])
def test_waiting_for_a_job_that_was_not_wholly_answered_ends_with_a_code_of_its_own(
    filled, run, tmp_path: Path, failed: int, code: Exit
):
    """A script learns that a request has no answer; whoever only looks does not fail for it."""
    ended = pb.BatchJob(id="nightly", state=pb.BATCH_JOB_STATE_ENDED, item_count=3, answered_count=3 - failed, failed_count=failed)
    ended.end_time.FromSeconds(1_700_000_000)
    filled.answers |= {
        "CreateBatchJob": pb.CreateBatchJobResponse(job=ended),
        "GetBatchJob": pb.GetBatchJobResponse(job=ended),
        "StreamBatchJobResults": [ANSWER, *[ERROR] * failed],
    }
    file = requests(tmp_path, {"prompt": "a"})
    for words in (("submit", file), ("show", "nightly"), ("results", "nightly"), ("results", "nightly", "--csv")):
        assert run("job", *words, "--wait").exit_code == code
        assert run("job", *words).exit_code == Exit.OK


def test_show_and_list(filled, run):
    """A job is shown with its counts and money, as a table or as JSON."""
    assert "At providers" in run("job", "show", "nightly").stdout
    assert json.loads(run("job", "show", "nightly", "--json").stdout)["state"] == "ended"
    assert "nightly" in run("job", "list").stdout
    assert json.loads(run("job", "list", "--json").stdout)[0]["item_count"] == 3
    assert run("job", "list", "--csv").stdout.startswith("id,state,")


def test_show_waits_for_the_end(filled, run, monkeypatch: pytest.MonkeyPatch):
    """Each change is told, and the job as it ended is what is printed."""
    monkeypatch.setattr(command, "BETWEEN_S", 0.0)
    result = run("job", "show", "nightly", "--wait")
    assert "3 of 3 requests ended, 1 without an answer" in result.stderr
    assert "ended" in result.stdout


def test_results(filled, run):
    """Each result is a row, or a line of JSON with the whole answer or the error."""
    table = run("job", "results", "nightly").stdout
    assert "nightly/0" in table
    assert "not run" in table
    lines = [json.loads(line) for line in run("job", "results", "nightly", "--json", "--wait").stdout.splitlines()]
    assert (lines[0]["completion"]["text"], lines[1]["error"]["message"]) == (LONG, "not run")
    assert filled.asked["StreamBatchJobResults"][1].wait
    rows = list(csv.DictReader(io.StringIO(run("job", "results", "nightly", "--csv").stdout)))
    assert [(row["index"], row["text"]) for row in rows][:2] == [("0", LONG), ("1", str(lines[1]["error"]["message"]))]


def test_cancel(filled, run):
    """The job is named and shown as it stands."""
    assert run("job", "cancel", "nightly").exit_code == 0
    assert filled.asked["CancelBatchJob"][0].job_id == "nightly"
    assert json.loads(run("job", "cancel", "nightly", "--json").stdout)["id"] == "nightly"
