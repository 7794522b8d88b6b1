"""The emulated batch APIs over HTTP: their own words for what is wrong, pace and control, and what is billed."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.batches import Batches, Job, Line, Outcome
from aigen_emulator.faults import FaultError, fault_from
from aigen_emulator.server import EmulatorServer, serving

from tests.emulator_server import RunningEmulator

MESSAGES = [{"role": "user", "content": "hello"}]
REQUEST = {"model": "gpt-4o", "messages": MESSAGES}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmulatorServer]:
    """Serve an emulator of the test's own."""
    with serving(Emulator(EmulatorSettings(truth=tmp_path / "truth.jsonl"))) as running:
        yield running


@pytest.fixture
async def http(server: EmulatorServer) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a plain HTTP client, pointed at the server."""
    base_url = server.base_url.removesuffix("/v1")
    async with httpx2.AsyncClient(base_url=base_url, trust_env=False, timeout=10) as client:
        yield client


def charges(tmp_path: Path) -> list[dict[str, Any]]:
    """Return what was billed."""
    return [json.loads(text) for text in (tmp_path / "truth.jsonl").read_text(encoding="utf-8").splitlines()]


def openai_line(name: str, **body) -> dict[str, Any]:
    """Return a line of OpenAI's input."""
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": REQUEST | body}


async def openai_job(http: httpx2.AsyncClient, *lines: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Upload lines and make a job of them."""
    content = "".join(json.dumps(line) + "\n" for line in lines)
    files = {"file": ("lines.jsonl", content.encode(), "application/jsonl")}
    file = (await http.post(f"{prefix}/v1/files", data={"purpose": "batch"}, files=files)).json()
    body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return (await http.post(f"{prefix}/v1/batches", json=body)).json()


async def test_a_line_is_billed_as_what_it_is(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    """The truth names the job, the line and the batch price; asking twice bills nothing again."""
    job = await openai_job(http, openai_line("a1-7"), prefix="/p/one")
    for _ in range(2):
        assert (await http.get(f"/p/one/v1/batches/{job['id']}")).json()["status"] == "completed"
    (charge,) = charges(tmp_path)
    assert (charge["processing"], charge["job"], charge["custom_id"]) == ("batch", job["id"], "a1-7")
    assert (charge["provider"], charge["model"], charge["input_tokens"]) == ("one", "gpt-4o", 9)


async def test_a_job_that_is_forgotten_bills_nobody(http: httpx2.AsyncClient, server: EmulatorServer, tmp_path: Path) -> None:
    """What a test leaves behind is not run when the next one asks for all jobs."""
    await openai_job(http, openai_line("a1-7"))
    RunningEmulator(server, tmp_path / "truth.jsonl")
    assert (await http.get("/v1/batches")).json()["data"] == []
    assert charges(tmp_path) == []


async def test_polls_at_once_bill_a_line_once(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    """However many ask at the same moment, each line is run once."""
    job = await openai_job(http, *(openai_line(f"a{number}-7") for number in range(20)))
    await asyncio.gather(*(http.get(f"/v1/batches/{job['id']}") for _ in range(10)))
    assert sorted(charge["custom_id"] for charge in charges(tmp_path)) == sorted(f"a{number}-7" for number in range(20))


@pytest.mark.parametrize("guarded", [True, False])
async def test_turns_alone_keep_a_line_from_running_twice(*, guarded: bool) -> None:
    """Two who ask at once run a line once, because each waits for its turn; the control takes the turns away."""
    ran = []

    async def run(job: Job, line: Line) -> Outcome:
        ran.append((job.id, line.name))
        await asyncio.sleep(0)
        return Outcome(200, {})

    batches = Batches(lambda: 0.0, run)
    job = batches.add("b", provider="", family="f", lines=(Line("a", "/v1/responses", b"{}"),), about={})
    if not guarded:
        job.turn = contextlib.nullcontext()
    await asyncio.gather(*(batches.find("f", "", "b") for _ in range(3)))
    assert len(ran) == (1 if guarded else 3)


async def test_an_ordinary_call_is_billed_as_such(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    """Calls of their own say standard, and flex where they were served so."""
    await http.post("/v1/chat/completions", json=REQUEST)
    answer = (await http.post("/v1/chat/completions", json=REQUEST | {"service_tier": "flex"})).json()
    assert [charge["processing"] for charge in charges(tmp_path)] == ["standard", "flex"]
    assert answer["service_tier"] == "flex"


async def test_a_job_takes_its_time_on_the_emulators_clock(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    """A quarter of the time runs a quarter of the lines; the control addresses set pace and clock."""
    assert (await http.post("/emulator/batches", json={"delay_s": 400})).json() == {"delay_s": 400.0, "window_s": 86_400.0}
    job = await openai_job(http, *(openai_line(f"a{number}-7") for number in range(8)))
    for advanced, done in ((0, 0), (100, 2), (299, 7), (1, 8)):
        await http.post("/emulator/clock", json={"advance_s": advanced})
        told = (await http.get(f"/v1/batches/{job['id']}")).json()
        assert told["request_counts"] == {"total": 8, "completed": done, "failed": 0}
        assert len(charges(tmp_path)) == done
    stats = (await http.get("/emulator/stats")).json()
    assert stats["batches"] == {"files": 1, "jobs": 1, "lines": 8, "lines_run": 8}


@pytest.mark.parametrize("asked", [{"delay": 1}, [], {"delay_s": -1}, {"window_s": "long"}, {"delay_s": True}])
async def test_a_pace_that_can_not_be_is_refused(http: httpx2.AsyncClient, asked: Any) -> None:
    """The error names what is wrong and what is allowed."""
    answer = await http.post("/emulator/batches", json=asked)
    assert answer.status_code == 400
    assert "allowed" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([openai_line("a"), openai_line("a")], "duplicate_custom_id"),
        ([openai_line("a"), openai_line("b", model="gpt-4o-mini")], "mismatched_model"),
        ([openai_line("a") | {"url": "/v1/responses"}], "mismatched_endpoint"),
        ([{"no": "line"}], "invalid_json_line"),
    ],
)
async def test_openai_refuses_a_file_as_a_whole(http: httpx2.AsyncClient, lines: list, code: str, tmp_path: Path) -> None:
    """The job has failed, says why, and nothing of it is run."""
    job = await openai_job(http, *lines)
    told = (await http.get(f"/v1/batches/{job['id']}")).json()
    assert told["status"] == "failed"
    assert code in {problem["code"] for problem in told["errors"]["data"]}
    assert charges(tmp_path) == []
    assert (told["output_file_id"], told["error_file_id"]) == (None, None)


async def test_lines_that_fail_stand_in_the_file_of_errors(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    """A refused line has the body of a refused call and costs nothing; one the script charges is billed."""
    lines = [
        openai_line("ok"),
        openai_line("bad", model="gpt-4o", messages=[]),
        openai_line("told", messages=[MESSAGES[0] | {"content": "[[fault:status=500]]"}]),
    ]
    job = await openai_job(http, *lines)
    told = (await http.get(f"/v1/batches/{job['id']}")).json()
    assert told["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    errors = (await http.get(f"/v1/files/{told['error_file_id']}/content")).text.splitlines()
    found = {line["custom_id"]: line["response"] for line in map(json.loads, errors)}
    assert {name: response["status_code"] for name, response in found.items()} == {"bad": 400, "told": 500}
    assert found["bad"]["body"]["error"]["code"] == "empty_array"
    assert len(charges(tmp_path)) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/files", {}, 400),
        ("POST", "/v1/batches", {"endpoint": "/v1/embeddings"}, 400),
        ("POST", "/v1/batches", {"endpoint": "/v1/responses", "completion_window": "24h", "input_file_id": "x"}, 400),
        ("POST", "/v1/batches", [], 400),
        ("GET", "/v1/batches/batch_x", None, 404),
        ("POST", "/v1/batches/batch_x/cancel", {}, 404),
        ("GET", "/v1/files/file-x/content", None, 404),
        ("POST", "/v1/messages/batches", {}, 400),
        ("POST", "/v1/messages/batches", {"requests": []}, 400),
        ("POST", "/v1/messages/batches", {"requests": [{"custom_id": "not allowed", "params": {}}]}, 400),
        ("GET", "/v1/messages/batches/msgbatch_x", None, 404),
        ("GET", "/v1/messages/batches/msgbatch_x/results", None, 404),
        ("POST", "/v1beta/models/gemini-2.5-pro:batchGenerateContent", {}, 400),
        ("POST", "/v1beta/models/m:batchGenerateContent", {"batch": {"displayName": "d", "inputConfig": {"fileName": "f"}}}, 404),
        ("GET", "/v1beta/batches/x", None, 404),
        ("POST", "/v1beta/batches/x:cancel", {}, 404),
        ("GET", "/download/v1beta/files/batch-x:download", None, 404),
        ("POST", "/upload/v1beta/files", {}, 400),
    ],
)
async def test_what_is_wrong_is_said_in_the_providers_words(
    http: httpx2.AsyncClient, method: str, path: str, body: Any, status: int
) -> None:
    """Unknown ids and requests that can't be are errors with the status and the shape of that provider."""
    answer = await http.request(method, path, json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"]
    google, anthropic = "beta" in path, "messages" in path
    assert error["status" if google else "type"] in (
        ("INVALID_ARGUMENT", "NOT_FOUND") if google else ("invalid_request_error", "not_found_error")
    )
    assert (answer.json().get("type") == "error") is anthropic


async def test_results_before_the_end_are_refused(http: httpx2.AsyncClient) -> None:
    """Anthropic has no results of a job that runs, and no counts but one."""
    await http.post("/emulator/batches", json={"delay_s": 100})
    requests = [{"custom_id": f"a{number}-7", "params": REQUEST | {"max_tokens": 50}} for number in range(2)]
    job = (await http.post("/v1/messages/batches", json={"requests": requests})).json()
    await http.post("/emulator/clock", json={"advance_s": 60})
    told = (await http.get(f"/v1/messages/batches/{job['id']}")).json()
    assert (told["processing_status"], told["request_counts"]["processing"], told["results_url"]) == ("in_progress", 2, None)
    assert (await http.get(f"/v1/messages/batches/{job['id']}/results")).status_code == 404


async def test_providers_do_not_see_each_others_jobs(http: httpx2.AsyncClient) -> None:
    """A job is known at the address where it was made."""
    job = await openai_job(http, openai_line("a1-7"), prefix="/p/one")
    assert (await http.get(f"/p/two/v1/batches/{job['id']}")).status_code == 404
    assert (await http.get("/p/two/v1/batches")).json()["data"] == []
    assert len((await http.get("/p/one/v1/batches")).json()["data"]) == 1


@pytest.mark.parametrize("charge", [True, False])
async def test_an_answer_that_is_lost_leaves_the_job_or_not(
    http: httpx2.AsyncClient, server: EmulatorServer, *, charge: bool
) -> None:
    """A fault on an operation does it where it charges, and strikes no completion."""
    server.emulator.script.add(fault_from({"on": "create", "status": 500, "charge": charge}))
    assert (await http.post("/v1/chat/completions", json=REQUEST)).status_code == 200
    assert "error" in await openai_job(http, openai_line("a1-7"))
    assert len((await http.get("/v1/batches")).json()["data"]) == int(charge)


def test_faults_on_unknown_operations_and_tiers_are_refused() -> None:
    """The errors name what is allowed."""
    with pytest.raises(FaultError, match="upload, create"):
        fault_from({"on": "delete"})
    with pytest.raises(FaultError, match="flex"):
        fault_from({"tier": "priority"})


async def test_limits_are_set_while_running(http: httpx2.AsyncClient) -> None:
    """The control address sets them, the headers say what is left, and what is too much waits as long as it is told."""
    limits = {"max_concurrent": None, "per_minute": 100, "tokens_per_minute": 150}
    assert (await http.post("/emulator/limits", json={"per_minute": 100, "tokens_per_minute": 150})).json() == limits
    first = await http.post("/v1/chat/completions", json=REQUEST | {"max_tokens": 50})
    assert first.headers["x-ratelimit-limit-tokens"] == "150"
    assert first.headers["x-ratelimit-remaining-tokens"] == str(150 - 9 - 50)
    assert (first.headers["x-ratelimit-remaining-requests"], first.headers["x-ratelimit-limit-requests"]) == ("99", "100")
    refused = await http.post("/v1/chat/completions", json=REQUEST | {"max_tokens": 100})
    assert refused.status_code == 429
    assert "tokens per min" in refused.json()["error"]["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    await http.post("/emulator/clock", json={"advance_s": 61})
    assert (await http.post("/v1/chat/completions", json=REQUEST | {"max_tokens": 100})).status_code == 200
    assert (await http.post("/emulator/limits", json={"tokens_per_minute": None})).json()["tokens_per_minute"] is None


async def test_each_provider_tells_its_limits_in_its_own_way(http: httpx2.AsyncClient) -> None:
    """Anthropic has headers for each kind of token and whole seconds to wait, Google has a delay in the body alone."""
    await http.post("/emulator/limits", json={"per_minute": 1, "tokens_per_minute": 1_000})
    anthropic = await http.post("/v1/messages", json=REQUEST | {"max_tokens": 50})
    kinds = ("requests", "tokens", "input-tokens", "output-tokens")
    left = {kind: anthropic.headers[f"anthropic-ratelimit-{kind}-remaining"] for kind in kinds}
    assert left == {"requests": "0", "tokens": "941", "input-tokens": "941", "output-tokens": "188"}
    assert all(anthropic.headers[f"anthropic-ratelimit-{kind}-reset"].endswith("Z") for kind in kinds)
    refused = await http.post("/v1/messages", json=REQUEST | {"max_tokens": 50})
    assert (refused.status_code, "retry-after" in refused.headers, "retry-after-ms" in refused.headers) == (429, True, False)
    google = await http.post("/v1beta/models/gemini-2.5-pro:generateContent", json={"contents": [{"parts": [{"text": "x"}]}]})
    assert (google.status_code, "retry-after" in google.headers) == (429, False)
    (info,) = google.json()["error"]["details"]
    assert 0 < float(info["retryDelay"].removesuffix("s")) <= 60


@pytest.mark.parametrize("asked", [[], {"unknown": 1}, {"per_minute": 0}, {"per_minute": True}, {"tokens_per_minute": 1.5}])
async def test_limits_that_can_not_be_are_refused(http: httpx2.AsyncClient, asked: Any) -> None:
    """The error names field, value and what is allowed, and nothing has changed."""
    answer = await http.post("/emulator/limits", json=asked)
    assert answer.status_code == 400
    assert "allowed" in answer.json()["error"]["message"]
    assert (await http.post("/emulator/limits", json={})).json()["per_minute"] is None
