"""What is special about each batch API: what is sent, what is kept secret, what goes wrong in between, and who has one at all."""

import json
import time
from collections.abc import AsyncIterator

import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.faults import fault_from
from aigen_emulator.server import EmulatorServer, serving
from aigend.config import ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.providers.batch_port import BatchResult, BatchState, Found, may_be_accepted
from aigend.providers.gemini.batch import _time
from aigend.providers.port import FaultKind, ProviderFault
from aigend.providers.registry import BATCH_ADAPTERS, ProviderRegistry
from aigend.types import Lane, Tool
from pydantic import SecretStr

from tests.daemon.providers.asking import request
from tests.daemon.providers.batch_worlds import ADAPTERS, KEY, connect, line, lines
from tests.daemon.providers.loopback import serving_bytes
from tests.daemon.providers.recorded import RECORDINGS, needs_recordings

EMPTY_LIST = b'{"data": [], "operations": [], "has_more": false}'


@pytest.fixture
def server() -> AsyncIterator[EmulatorServer]:
    """Serve an emulator of the test's own."""
    with serving(Emulator(EmulatorSettings(api_key=KEY))) as running:
        yield running


async def read_into(seen: list[str], results: AsyncIterator[BatchResult]) -> None:
    """Note whose results come, as far as they come."""
    async for result in results:
        seen.append(result.custom_id)  # noqa: PERF401 - what came before a fault counts


def script(server: EmulatorServer, **fault) -> None:
    """Let the next matching request fail."""
    server.emulator.script.add(fault_from(fault))


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_lines_are_spelled_as_calls_are(adapter: str) -> None:
    """What a job asks is what a call of its own would ask, tools and bounds included, and nothing else."""
    asked = line("a1-7", "hello", tools=(Tool(name="t", parameters_json_schema="{}"),))
    async with serving_bytes(
        b'{"id": "x", "name": "x", "file": {"name": "files/f"}}', headers={"x-goog-upload-url": "http://elsewhere/u?upload_id=1"}
    ) as loopback:
        batch = connect(adapter, loopback.base_url)
        assert await batch.submit([asked], mark="m-1") == "x"
        await batch.aclose()
    uploaded = b"".join(seen.body for seen in loopback.requests)
    assert b"a1-7" in uploaded
    assert b'"hello"' in uploaded
    assert b"400" in uploaded
    assert b"service_tier" not in uploaded
    assert b'"stream"' not in uploaded
    assert batch.size_of(asked) <= len(uploaded)


async def test_an_uploaded_file_goes_only_to_the_address_of_the_settings() -> None:
    """The address that Google's first answer names is used without its host: the key goes nowhere else."""
    told = {"x-goog-upload-url": "http://elsewhere.example/upload/v1/files?upload_id=7"}
    async with serving_bytes(b'{"name": "batches/b", "file": {"name": "files/f"}}', headers=told) as loopback:
        batch = connect("gemini", loopback.base_url)
        await batch.submit(lines(1), mark="m-1")
        await batch.aclose()
    begin, finish, create = loopback.requests
    assert begin.path == "/upload/v1/files"
    assert finish.path == "/upload/v1/files?upload_id=7"
    assert finish.headers["x-goog-upload-command"] == "upload, finalize"
    assert json.loads(finish.body)["key"] == "a0-7"
    assert create.path == "/v1/models/gpt-4o:batchGenerateContent"
    assert json.loads(create.body)["batch"] == {"displayName": "m-1", "inputConfig": {"fileName": "files/f"}}


async def test_a_mark_stands_in_the_metadata_of_openais_jobs(server: EmulatorServer) -> None:
    """The job bears our mark and asks for the format's own address."""
    for adapter, endpoint in (("openai", "/v1/chat/completions"), ("openai-responses", "/v1/responses")):
        batch = connect(adapter, server.base_url)
        job_id = await batch.submit(lines(1), mark="m-1")
        job = await server.emulator.batches.find("openai", "", job_id)
        assert (job.about["metadata"], job.about["endpoint"]) == ({"aigen_mark": "m-1"}, endpoint)
        await batch.aclose()


@pytest.mark.parametrize("adapter", ["openai", "gemini"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"reset": True}, {"garbage": "html"}, {"status": 401}], ids=str)
async def test_a_failed_upload_is_no_job(adapter: str, fault: dict, server: EmulatorServer) -> None:
    """Whatever becomes of the file, it is certain that there is no job."""
    batch = connect(adapter, server.base_url)
    script(server, on="upload", **fault)
    with pytest.raises(ProviderFault) as caught:
        await batch.submit(lines(2), mark="m-1")
    assert not may_be_accepted(caught.value)
    assert server.emulator.batches.stats()["jobs"] == 0
    assert await batch.submit(lines(2), mark="m-1")
    await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_nothing_left_when_nobody_listens(adapter: str) -> None:
    """A server that can't be reached has taken nothing."""
    batch = connect(adapter, "http://127.0.0.1:1/v1")
    with pytest.raises(ProviderFault) as caught:
        await batch.submit(lines(1), mark="m-1")
    assert caught.value.kind is FaultKind.UNREACHABLE
    assert not may_be_accepted(caught.value)
    await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_wrong_key_is_refused_and_never_shown(adapter: str, server: EmulatorServer) -> None:
    """The fault is one of the key, and no text of it holds the key."""
    settings = ProviderSettings(
        adapter=adapter, base_url=server.base_url, api_key=SecretStr("sk-wrong-key-012345"), batch_api="use"
    )
    batch = ADAPTERS[adapter].connect("account", settings, answer_bytes=1_000)
    for asking in (batch.submit(lines(1), mark="m-1"), batch.progress("x"), batch.cancel("x"), batch.find("m", ["a"], since=0.0)):
        with pytest.raises(ProviderFault) as caught:
            await asking
        assert caught.value.kind is FaultKind.AUTH
        assert "sk-wrong" not in f"{caught.value} {caught.value.provider_message}"
    await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("on", ["retrieve", "list", "cancel", "results"])
async def test_other_requests_fail_as_calls_do(adapter: str, on: str, server: EmulatorServer) -> None:
    """A server error is a fault with its kind, a rate limit has its wait, and the next try succeeds."""
    batch = connect(adapter, server.base_url)
    server.emulator.batches.pace(delay_s=1_000 if on == "cancel" else 0)  # what has ended is not cancelled
    job_id = await batch.submit(lines(2), mark="m-1")

    async def ask() -> object:
        if on == "results":
            return [result async for result in batch.results(job_id)]
        if on == "list":
            return await batch.find("m-1", ["a0-7", "a1-7"], since=time.time())
        return await (batch.cancel(job_id) if on == "cancel" else batch.progress(job_id))

    script(server, on=on, status=503)
    with pytest.raises(ProviderFault) as caught:
        await ask()
    assert caught.value.kind is FaultKind.SERVER_ERROR
    script(server, on=on, garbage="text")
    with pytest.raises(ProviderFault):
        await ask()
    await ask()
    await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_results_that_are_cut_say_so(adapter: str, server: EmulatorServer) -> None:
    """What came before holds, the cut is a fault, and asking again gives all."""
    batch = connect(adapter, server.base_url)
    job_id = await batch.submit(lines(40), mark="m-1")
    script(server, on="results", cut_after=200)
    seen = []
    with pytest.raises(ProviderFault) as caught:
        await read_into(seen, batch.results(job_id))
    assert caught.value.kind is FaultKind.CUT
    assert 0 < len(seen) < 40
    assert len([result async for result in batch.results(job_id)]) == 40
    await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_each_line_of_the_results_is_bounded(adapter: str, server: EmulatorServer) -> None:
    """The bound is of one answer: results may be longer in all, and one that is too long spoils no other."""
    batch = connect(adapter, server.base_url, answer_bytes=20_000)
    job_id = await batch.submit(
        [line(f"a{number}-7", f"question {number} [[answer:tokens=2000]]") for number in range(8)], mark="m-1"
    )
    script(server, contains="question 3", size=100_000)
    found = {result.custom_id: result.outcome for result in [item async for item in batch.results(job_id)]}
    assert found.pop("a3-7").kind is FaultKind.TOO_LARGE
    assert len(found) == 7
    assert all(reply.parts for reply in found.values())
    await batch.aclose()


async def test_control_with_a_wider_bound_the_long_answer_is_read(server: EmulatorServer) -> None:
    """Control: it is the bound alone that leaves a long answer unread."""
    batch = connect("openai", server.base_url, answer_bytes=1_000_000)
    job_id = await batch.submit(lines(1), mark="m-1")
    script(server, contains="question 0", size=100_000)
    (result,) = [item async for item in batch.results(job_id)]
    assert len(result.outcome.parts[0].content.text) >= 100_000
    await batch.aclose()


async def test_control_without_its_mark_a_lost_job_is_not_found(server: EmulatorServer) -> None:
    """Control: the mark alone makes a job known again, its lines and its time do not."""
    since = time.time()
    batch = connect("openai", server.base_url)
    job_id = await batch.submit(lines(2), mark="m-1")
    assert (await batch.find("m-1", ["a0-7", "a1-7"], since=since)).job_id == job_id
    (await server.emulator.batches.find("openai", "", job_id)).about["metadata"].clear()
    assert (await batch.find("m-1", ["a0-7", "a1-7"], since=since)).found is Found.ABSENT
    await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    ("status", "kind"), [(429, FaultKind.RATE_LIMITED), (500, FaultKind.SERVER_ERROR), (404, FaultKind.REJECTED)]
)
async def test_errors_of_lines_have_the_kinds_of_calls(adapter: str, status: int, kind: FaultKind, server: EmulatorServer) -> None:
    """A line that failed is judged as a call that failed in that way."""
    batch = connect(adapter, server.base_url)
    job_id = await batch.submit(lines(1), mark="m-1")
    script(server, status=status, contains="question 0")
    (result,) = [item async for item in batch.results(job_id)]
    assert (result.outcome.kind, result.outcome.provider) == (kind, "account")
    await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_an_answer_that_is_none_is_a_fault_of_its_line(adapter: str, server: EmulatorServer) -> None:
    """A line with the body of something else is BAD_ANSWER: it may have been billed."""
    batch = connect(adapter, server.base_url)
    job_id = await batch.submit(lines(2), mark="m-1")
    script(server, contains="question 0", garbage="wrong_shape")
    found = {result.custom_id: result.outcome for result in [item async for item in batch.results(job_id)]}
    assert found["a0-7"].kind is FaultKind.BAD_ANSWER
    assert found["a1-7"].parts
    await batch.aclose()


@pytest.mark.parametrize("body", [b"[]", b"{}", b"nonsense"])
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_made_job_without_an_id_may_be_one(adapter: str, body: bytes, server: EmulatorServer) -> None:
    """An answer to the making of a job that names none leaves it open whether there is one."""
    batch = connect(adapter, server.base_url)
    script(server, on="create", body=body.decode())
    with pytest.raises(ProviderFault) as caught:
        await batch.submit(lines(1), mark="m-1")
    assert caught.value.kind is FaultKind.BAD_ANSWER
    assert may_be_accepted(caught.value)
    await batch.aclose()


@pytest.mark.parametrize("adapter", ["openai", "openai-responses", "gemini"])
async def test_lines_for_two_models_are_refused_unsent(adapter: str, server: EmulatorServer) -> None:
    """Such providers' jobs are for one model; nothing is uploaded."""
    batch = connect(adapter, server.base_url)
    with pytest.raises(ProviderFault) as caught:
        await batch.submit([line("a1-7"), line("a2-7", model="other")], mark="m-1")
    assert caught.value.kind is FaultKind.REJECTED
    assert server.emulator.batches.stats()["files"] == 0
    await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_search_of_nothing_finds_nothing(adapter: str) -> None:
    """An empty list means that there is no such job."""
    async with serving_bytes(EMPTY_LIST) as loopback:
        batch = connect(adapter, loopback.base_url)
        assert (await batch.find("m-1", ["a0-7"], since=0.0)).found is Found.ABSENT
        await batch.aclose()


async def test_an_empty_page_is_not_the_end_of_googles_list() -> None:
    """A page may hold nothing and have a next one: what was not looked through proves nothing."""
    async with serving_bytes(b'{"nextPageToken": "more"}') as loopback:
        batch = connect("gemini", loopback.base_url)
        assert (await batch.find("m-1", ["a0-7"], since=0.0)).found is Found.UNDECIDED
        await batch.aclose()


@pytest.mark.parametrize("adapter", ["openai", "openai-responses", "anthropic"])
@pytest.mark.parametrize("body", [b"{}", b'{"data": null}', b'{"data": {"id": "x"}}', b'{"data": ["x"]}'])
async def test_a_list_that_is_none_proves_nothing(adapter: str, body: bytes) -> None:
    """Something else in place of the list is a fault, never the absence of the job."""
    async with serving_bytes(body) as loopback:
        batch = connect(adapter, loopback.base_url)
        with pytest.raises(ProviderFault) as caught:
            await batch.find("m-1", ["a0-7"], since=0.0)
        assert caught.value.kind is FaultKind.BAD_ANSWER
        await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_clock_that_was_ahead_hides_no_job(adapter: str, server: EmulatorServer) -> None:
    """A job that by the provider's clock is older than its own hand-in is found all the same."""
    batch = connect(adapter, server.base_url)
    job_id = await batch.submit(lines(2), mark="m-1")
    for _ in range(2):  # the second time from what was seen
        found = await batch.find("m-1", ["a0-7", "a1-7"], since=time.time() + 30 * 86_400)
        assert (found.found, found.job_id) == (Found.FOUND, job_id)
    assert (await batch.find("m-2", ["b0-7", "b1-7"], since=time.time())).found is Found.ABSENT
    await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_list_without_end_is_not_read_for_ever(adapter: str) -> None:
    """A search gives up after its pages, and does not claim to know."""
    job = {"id": "x", "name": "x", "created_at": time.time() + 60, "metadata": {"createTime": "2999-01-01T00:00:00Z"}}
    job |= {"created_at": "2999-01-01T00:00:00Z"} if adapter == "anthropic" else {}
    page = {"data": [job], "operations": [job], "has_more": True, "nextPageToken": "more"}
    async with serving_bytes(json.dumps(page).encode()) as loopback:
        batch = connect(adapter, loopback.base_url)
        assert (await batch.find("m-1", ["a0-7"], since=0.0)).found is Found.UNDECIDED
        assert len(loopback.requests) == 100
        await batch.aclose()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_job_takes_any_lane_but_what_a_call_can_not_say_is_refused(adapter: str) -> None:
    """The lane is not looked at; a field that the format lacks is named."""
    batch = connect(adapter, "http://127.0.0.1:1/v1")
    for lane in Lane:
        batch.check(request(lane=lane))
    with pytest.raises(DomainError) as caught:
        batch.check(request(provider_options_json="[]"))
    assert caught.value.reason is Reason.INVALID_REQUEST


def test_anthropics_jobs_have_no_speed() -> None:
    """An option that only calls have is refused by name."""
    with pytest.raises(DomainError) as caught:
        connect("anthropic", "http://127.0.0.1:1/v1").check(request(provider_options_json='{"speed": "standard"}'))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, "provider_options.speed")


@pytest.mark.parametrize(
    ("adapter", "base_url", "chosen", "has"),
    [
        ("openai", None, "auto", True),
        ("openai", "https://api.groq.com/openai/v1", "auto", False),
        ("openai", "https://api.groq.com/openai/v1", "use", True),
        ("openai", None, "none", False),
        ("openai", "http://127.0.0.1:9/v1", "auto", False),
        ("openai-responses", None, "auto", True),
        ("anthropic", None, "auto", True),
        ("anthropic", "https://anthropic.example.com", "auto", False),
        ("anthropic", "https://anthropic.example.com", "use", True),
        ("gemini", None, "auto", True),
        ("gemini", "https://gemini.example.com/v1beta", "auto", False),
        ("gemini", None, "none", False),
        ("perplexity", None, "auto", False),
        ("sonar", None, "use", False),
    ],
)
async def test_who_has_batch_jobs(adapter: str, base_url: str | None, chosen: str, *, has: bool) -> None:
    """By itself only where the provider's own API is addressed, otherwise as the settings say; some formats never."""
    settings = ProviderSettings(adapter=adapter, base_url=base_url, api_key=SecretStr(KEY), batch_api=chosen)
    registry = ProviderRegistry({"p": settings}, answer_bytes=1_000)
    (account,) = await registry.ready("p")
    assert (account.batch is not None) is has
    assert account.batch is None or account.batch.name == "p"
    await registry.aclose()


def test_every_batch_adapter_is_one_of_a_format() -> None:
    """The table names the formats whose providers have batch jobs."""
    assert BATCH_ADAPTERS.keys() == ADAPTERS.keys()


def test_googles_nanoseconds_are_understood() -> None:
    """Moments come with nine digits behind the point."""
    assert _time("2026-01-06T11:09:11.943530657Z") == pytest.approx(1_767_697_751.94353)
    assert _time(None) == _time("soon") == 0.0


@pytest.mark.parametrize(
    ("job", "state"),
    [
        ({"metadata": {"state": "BATCH_STATE_PENDING"}}, BatchState.RUNNING),
        ({"metadata": {"state": "JOB_STATE_SUCCEEDED"}}, BatchState.ENDED),
        ({"metadata": {"state": "JOB_STATE_PARTIALLY_SUCCEEDED"}}, BatchState.ENDED),
        ({"metadata": {"state": "BATCH_STATE_FAILED"}}, BatchState.FAILED),
        ({"metadata": {"state": "BATCH_STATE_FAILED", "batchStats": {"successfulRequestCount": "1"}}}, BatchState.ENDED),
        ({"done": True, "error": {"code": 13}}, BatchState.FAILED),
        ({"metadata": {"state": "BATCH_STATE_NEW"}}, BatchState.RUNNING),
        ({}, BatchState.RUNNING),
    ],
)
async def test_googles_states_have_their_meaning(job: dict, state: BatchState) -> None:
    """Under both of their names; what is unknown is waited for."""
    async with serving_bytes(json.dumps(job).encode()) as loopback:
        batch = connect("gemini", loopback.base_url)
        assert (await batch.progress("batches/b")).state is state
        await batch.aclose()


def recorded() -> list[dict]:
    """Return the recorded exchanges with Anthropic's batch API."""
    if not RECORDINGS.is_file():
        return []
    with RECORDINGS.open(encoding="utf-8") as exchanges:
        found = (json.loads(exchange) for exchange in exchanges if "/messages/batches" in exchange)
        return [exchange for exchange in found if "/messages/batches" in exchange["url"]]


@needs_recordings
@pytest.mark.parametrize("exchange", recorded(), ids=lambda exchange: exchange["path"].rsplit("_", 6)[-1] + str(exchange["i"]))
async def test_recorded_jobs_are_understood(exchange: dict) -> None:
    """What Anthropic really answered is read as id and progress, and our request has the shape of the recorded one."""
    told = json.loads(exchange["response"])
    async with serving_bytes(exchange["response"].encode(), status=exchange["status"]) as loopback:
        batch = connect("anthropic", loopback.base_url)
        if exchange["url"].endswith("/cancel"):
            await batch.cancel(told["id"])
            assert loopback.requests[0].path == exchange["url"].removeprefix("https://api.anthropic.com")
        else:
            asked = json.loads(exchange["request"])["requests"]
            job_id = await batch.submit([line(item["custom_id"], model=item["params"]["model"]) for item in asked], mark="m-1")
            assert job_id == told["id"]
            sent = json.loads(loopback.requests[0].body)["requests"]
            assert [item["custom_id"] for item in sent] == [item["custom_id"] for item in asked]
            assert all({"model", "messages", "max_tokens"} <= item["params"].keys() for item in (*sent, *asked))
        progress = await batch.progress(told["id"])
        assert (progress.state, progress.done, progress.failed) == (BatchState.RUNNING, 0, 0)
        assert progress.total == told["request_counts"]["processing"]
        assert progress.expire_time > time.time() - 200 * 86_400
        await batch.aclose()
