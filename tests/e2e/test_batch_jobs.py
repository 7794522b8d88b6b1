"""Batch jobs through real processes: killed at each step, every line is settled once and no job is handed in twice."""

import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aigen
import pytest
from aigend.completion.deferral.poller import Jobs
from aigend.ledger.verify import verify

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend, eventually
from tests.emulator_server import RunningEmulator
from tests.ledger_invariants import check_invariants
from tests.serving import serving

QUICK = {"max_wait_s": 0.3, "gather_s": 0.2, "poll_min_s": 0.05, "poll_max_s": 0.2, "absent_grace_s": 0.4}
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-5", "google": "gemini-2.5-flash"}
FAILPOINTS = ("before_upload", "after_upload", "while_polling", "mid_results")
TEXTS = ("one", "two", "three")


@pytest.fixture
def jobs_made(emulator: RunningEmulator) -> Callable[[], int]:
    """Return how many jobs the provider took since the test began."""
    before = emulator.emulator.batches.stats()["jobs"]
    return lambda: emulator.emulator.batches.stats()["jobs"] - before


def settings(emulator: RunningEmulator, name: str) -> dict[str, Any]:
    """Return settings of a daemon whose only provider is an emulated one with its own batch API."""
    return {"deferred": QUICK, "providers": provider(emulator, name)}


def provider(emulator: RunningEmulator, name: str) -> dict[str, Any]:
    """Return the settings of an emulated provider."""
    return {name: {"base_url": emulator.provider_url(name), "api_key": "made-up", "batch_api": "use"}}


def requests(model: str) -> list[aigen.CompletionRequest]:
    """Return the requests of a job."""
    return [aigen.CompletionRequest(text, model=model) for text in TEXTS]


def truth(emulator: RunningEmulator, ledger: Path) -> list[dict[str, Any]]:
    """Return the provider's charges under the request ids and attempts that the ledger knows their lines by."""
    with closing(sqlite3.connect(ledger)) as connection:
        rows = {row[0]: row[1:] for row in connection.execute("SELECT id, request_id, attempt_number FROM attempt")}
    named = []
    for charge in emulator.charges():
        found = re.fullmatch(r"a(\d+)-.*", charge["custom_id"])
        request_id, attempt = rows.get(int(found[1]), ("unknown line", 1)) if found else (charge["request_id"], charge["attempt"])
        named.append(charge | {"request_id": request_id, "attempt": attempt})
    return named


def breaches(daemon: Aigend, emulator: RunningEmulator) -> list[str]:
    """Return what is wrong with the books of a daemon that has ended."""
    return [*check_invariants(daemon.ledger, truth(emulator, daemon.ledger)), *verify(daemon.ledger)]


@pytest.mark.parametrize(
    ("name", "failpoint"), [*(("openai", one) for one in FAILPOINTS), ("anthropic", "after_upload"), ("google", "after_upload")]
)
def test_kill_at(make_daemon: MakeDaemon, emulator: RunningEmulator, jobs_made: Callable[[], int], name: str, failpoint: str):
    """The next life of the daemon goes on where the last one ended: one job at the provider, each line charged and settled once."""
    daemon = make_daemon(settings(emulator, name), base_url="", environ={"AIGEND_TEST": "1"})
    daemon.start(AIGEND_FAILPOINT=f"{failpoint}:kill")
    daemon.client().create_batch_job(requests(MODELS[name]), job_id="job")
    assert daemon.wait() == -9
    assert verify(daemon.ledger) == ()
    client = daemon.start().client()
    results = list(client.batch_job_results("job", wait=True))
    assert sorted(result.index for result in results) == [0, 1, 2]
    assert all(result.completion is not None for result in results)
    assert {str(entry.state) for entry in client.ledger_entries()} == {"settled"}
    assert daemon.stop() == 0
    assert (jobs_made(), len(emulator.charges())) == (1, 3)
    assert breaches(daemon, emulator) == []


def test_deferred_call_across_a_kill(make_daemon: MakeDaemon, emulator: RunningEmulator, jobs_made: Callable[[], int]):
    """A caller of Complete whose daemon is killed asks again under the same id and gets the answer of the job that went on."""
    daemon = make_daemon(settings(emulator, "openai"), base_url="", environ={"AIGEND_TEST": "1"})
    daemon.start(AIGEND_FAILPOINT="after_upload:kill")
    client = daemon.client(timeout=0.2)
    with pytest.raises((aigen.DeadlineExceeded, aigen.DaemonUnavailable)):
        client.complete("a question", model="gpt-4o-mini", lane="deferred", request_id="mine")
    assert daemon.wait() == -9
    answer = daemon.start().client().complete("a question", model="gpt-4o-mini", lane="deferred", request_id="mine")
    assert (answer.request_id, jobs_made(), len(emulator.charges())) == ("mine", 1, 1)
    daemon.stop()
    assert breaches(daemon, emulator) == []


def test_deferred_call_across_a_stop(make_daemon: MakeDaemon, emulator: RunningEmulator, jobs_made: Callable[[], int]):
    """A daemon that stops sends those who wait away at once; their clients ask the next one, and nothing is handed in twice."""
    slow = settings(emulator, "openai") | {"deferred": QUICK | {"max_wait_s": 2}}
    daemon = make_daemon(slow, base_url="").start()
    client, answers = daemon.client(), []
    asking = threading.Thread(target=lambda: answers.append(client.complete("a question", model="gpt-4o-mini", lane="deferred")))
    asking.start()
    eventually(lambda: daemon.client().status().deferred_waiting_count == 1)
    assert daemon.stop() == 0
    daemon.start()
    asking.join()
    assert (len(answers), jobs_made(), len(emulator.charges())) == (1, 1, 1)
    daemon.stop()
    assert breaches(daemon, emulator) == []


def recipe(emulator: RunningEmulator) -> dict[str, str]:
    """Return the environment that docs/client.md gives a daemon in front of the emulator, which listens elsewhere here."""
    page = (Path(__file__).parents[2] / "docs" / "client.md").read_text("utf-8")
    block = next(found for found in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "aigend serve" in found)
    address = emulator.base_url.removesuffix("/v1")
    return {name: value.replace("http://127.0.0.1:8099", address) for name, value in re.findall(r"([A-Z_]+)=(\S+)", block)}


def test_recipe_of_the_emulator_serves_batch_jobs(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """Whoever follows the page gets answers to jobs as it and docs/cli.md show them; without `batch_api` the error says why."""
    asked = [aigen.CompletionRequest("one", agent="claude"), aigen.CompletionRequest("two", model="gpt-4o")]
    environ = recipe(emulator)
    client = make_daemon({"deferred": QUICK}, base_url="", environ=environ, name="whole").start().client()
    job = client.create_batch_job(asked, job_id="job")
    assert [result.error for result in client.batch_job_results(job.id, wait=True)] == [None, None]
    bare = {name: value for name, value in environ.items() if not name.endswith("BATCH_API")}
    client = make_daemon({"deferred": QUICK}, base_url="", environ=bare, name="bare").start().client()
    job = client.create_batch_job(asked, job_id="job")
    said = sorted(str(result.error) for result in client.batch_job_results(job.id, wait=True))
    assert ["set providers.anthropic.batch_api to use" in said[0], "set providers.openai.batch_api to use" in said[1]] == [
        True,
        True,
    ]


async def test_asyncio_client_has_the_same_methods(tmp_path: Path, emulator: RunningEmulator):
    """A job is created, listed, looked at, read and cancelled with the client for asyncio."""
    async with serving(tmp_path, deferred=QUICK, providers=provider(emulator, "openai")) as house:
        client = house.client
        asked = [aigen.CompletionRequest(text, model="gpt-4o-mini") for text in TEXTS]
        with client.session("nightly", labels={"team": "red"}):
            job = await client.create_batch_job(asked, job_id="job", request_ids=["mine", "", ""])
        results = [result async for result in client.batch_job_results(job.id, wait=True)]
        job = await client.batch_job("job")
        assert {result.request_id for result in results} == {"mine", "job/1", "job/2"}
        assert (job.state, job.ended_count, job.session, job.labels) == ("ended", 3, "nightly", {"team": "red"})
        assert job.cost_usd_nanos == job.saved_usd_nanos > 0
        assert [one.id async for one in client.batch_jobs()] == ["job"]
        assert (await client.cancel_batch_job("job")).state == "ended"
        with pytest.raises(aigen.NotFound):
            await client.batch_job("nothing")
        with pytest.raises(aigen.InvalidRequest, match="request_ids"):
            await client.create_batch_job(asked, request_ids=["one"])
        with pytest.raises(aigen.InvalidRequest, match="requests"):
            await client.create_batch_job([])


async def test_lines_that_fail_at_the_provider_end_by_themselves(tmp_path: Path, emulator: RunningEmulator):
    """One line that the provider refuses is told as its refusal and not charged; the others are answered."""
    async with serving(tmp_path, deferred=QUICK, providers=provider(emulator, "openai")) as house:
        asked = [aigen.CompletionRequest(text, model="gpt-4o-mini") for text in ("good", "bad [[fault:status=400]]")]
        job = await house.client.create_batch_job(asked)
        results = {result.index: result async for result in house.client.batch_job_results(job.id, wait=True)}
        assert results[0].completion is not None
        assert isinstance(results[1].error, aigen.ProviderRefused)
        job = await house.client.batch_job(job.id)
        assert (job.answered_count, job.failed_count) == (1, 1)
    assert len(emulator.charges()) == 1


async def test_hand_in_that_was_cut_off_is_matched(tmp_path: Path, emulator: RunningEmulator, jobs_made: Callable[[], int]):
    """A reset after the provider took the job leads to one job, not two."""
    async with serving(tmp_path, deferred=QUICK, providers=provider(emulator, "openai")) as house:
        emulator.script({"on": "create", "reset": True})
        answer = await house.client.complete("a question", model="gpt-4o-mini", lane="deferred")
        assert (answer.saved_usd_nanos or 0) > 0
    assert (jobs_made(), len(emulator.charges())) == (1, 1)


async def test_control_without_the_match_two_jobs_are_made(
    tmp_path: Path, emulator: RunningEmulator, jobs_made: Callable[[], int], monkeypatch: pytest.MonkeyPatch
):
    """Taking a job whose id is not known for one that never was pays twice: the search is what prevents it."""

    async def certain(*_: object) -> bool:
        return True

    monkeypatch.setattr(Jobs, "_found_or_absent", certain)
    async with serving(tmp_path, deferred=QUICK, providers=provider(emulator, "openai")) as house:
        emulator.script({"on": "create", "reset": True})
        await house.client.complete("a question", model="gpt-4o-mini", lane="deferred")
    assert jobs_made() == 2
