"""BatchJobService: jobs are durable handles whose requests each go their own way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from aigen.v1 import batch_job_pb2 as pb
from aigen.v1 import completion_pb2
from aigend.clock import utc_text
from aigend.completion.deferral.batch_jobs import BatchJobs
from aigend.errors import DomainError, Reason
from aigend.providers.port import FaultKind, ProviderFault
from aigend.rpc.times import timestamp

from tests.daemon.rpc.served import Served, asked, failure, read_status, served
from tests.fakes import FakeBatchProvider, FakeClock, settle
from tests.spine import eventually

DEFERRED = {"max_wait_s": 60, "gather_s": 5, "poll_min_s": 10, "poll_max_s": 10}


@dataclass
class House:
    """A served spine whose provider one has a batch API."""

    served: Served
    batch: FakeBatchProvider
    clock: FakeClock

    async def create(self, *texts: str, name: str = "job", **fields) -> pb.BatchJob:
        """Create a job."""
        return await self.create_items(*(pb.BatchJobItem(completion=asked(text)) for text in texts), name=name, **fields)

    async def create_items(self, *items: pb.BatchJobItem, name: str = "job", **fields) -> pb.BatchJob:
        """Create a job of such requests."""
        request = pb.CreateBatchJobRequest(items=items, **fields)
        response = await self.served.batch_job.CreateBatchJob(request, metadata=(("aigen-request-id", name),))
        return response.job

    async def job(self, name: str = "job") -> pb.BatchJob:
        """Return a job as it stands."""
        return (await self.served.batch_job.GetBatchJob(pb.GetBatchJobRequest(job_id=name))).job

    async def results(self, name: str = "job", *, wait: bool = False) -> list[pb.StreamBatchJobResultsResponse]:
        """Return a job's results."""
        return [
            one
            async for one in self.served.batch_job.StreamBatchJobResults(pb.StreamBatchJobResultsRequest(job_id=name, wait=wait))
        ]

    async def passes(self, seconds: float) -> None:
        """Let time pass, with what it wakes done."""
        self.clock.advance(seconds)
        for _ in range(8):  # what was woken goes through the ledger's threads some times
            await self.served.house.ledger.write(lambda _: None)
            await self.served.house.ledger.read(lambda _: None)
            await settle()
            await asyncio.sleep(0.001)

    async def until(self, holds: Callable[[], object]) -> None:
        """Let time pass until something holds: whoever went to sleep late on a busy machine gets its turn too."""
        while not holds():
            await self.passes(1)

    async def leaves(self, lines: int) -> None:
        """Wait until so many lines are collected, and let them leave."""
        await eventually(lambda: self.served.house.deferred.waiting == lines)
        await self.passes(60)
        await self.until(lambda: self.batch.polls)

    async def runs(self) -> None:
        """Let the provider's jobs end and the daemon see it."""
        self.batch.run()
        await self.passes(10)
        while self.served.house.deferred.open_jobs:  # threads of the store end when they end
            await self.passes(10)


@asynccontextmanager
async def house(
    folder: Path, *, batch: FakeBatchProvider | None = None, clock: FakeClock | None = None, room: int = 1_000_000, **changes
) -> AsyncIterator[House]:
    """Serve a spine with a batch API on files in `folder`."""
    clock = clock or FakeClock()
    batch = batch or FakeBatchProvider("one", now=clock.time)
    async with served(
        folder, clock=clock, batches={"one": batch}, deferred=DEFERRED | {"max_size_bytes": room}, **changes
    ) as there:
        yield House(there, batch, clock)


async def test_job_from_its_creation_to_its_results(tmp_path: Path):
    """It is there at once, tells how far it is, and hands out each result under its position and request id."""
    async with house(tmp_path) as h:
        job = await h.create("one", "two")
        assert (job.id, job.state, job.item_count, job.waiting_count) == ("job", pb.BATCH_JOB_STATE_RUNNING, 2, 2)
        await h.leaves(2)
        assert (await h.job()).submitted_count == 2
        assert await h.results() == []
        await h.runs()
        await h.until(lambda: not h.served.house.deferred.open_jobs)
        results = await h.results(wait=True)
        job = await h.job()
    assert [(one.index, one.request_id, one.response.text) for one in sorted(results, key=lambda one: one.index)] == [
        (0, "job/0", "answer to: one"),
        (1, "job/1", "answer to: two"),
    ]
    assert (job.state, job.answered_count, job.failed_count) == (pb.BATCH_JOB_STATE_ENDED, 2, 0)
    assert job.cost_usd_nanos == job.saved_usd_nanos == sum(one.response.cost_usd_nanos for one in results) > 0


async def test_cached_request_of_a_job_costs_nothing_and_is_there_at_once(tmp_path: Path):
    """Only what is not known yet goes to the provider."""
    async with house(tmp_path) as h:
        h.served.house.one.will("known")
        await h.served.completion.Complete(asked("old"))
        await h.create("old", "new")
        await eventually(lambda: h.served.house.deferred.waiting == 1)
        [result] = await h.results()
        assert (result.index, result.response.cache_outcome) == (0, completion_pb2.CACHE_OUTCOME_HIT)
        await h.leaves(1)
        assert [len(job.lines) for job in h.batch.jobs.values()] == [1]


async def test_same_job_again_is_the_job_that_is_there(tmp_path: Path):
    """A client that repeats its call pays once; another job under the id is refused."""
    async with house(tmp_path) as h:
        await h.create("one")
        assert (await h.create("one")).create_time == (await h.job()).create_time
        with pytest.raises(AssertionError):
            await failure(h.served.batch_job.GetBatchJob(pb.GetBatchJobRequest(job_id="job")))
        refused = await failure(h.create("two"))
        await h.leaves(1)
        assert len(h.batch.jobs) == 1
    assert refused.reason == "REQUEST_ID_REUSED"


async def test_job_survives_a_restart(tmp_path: Path):
    """What was taken is worked on in the next life of the daemon, once."""
    async with house(tmp_path) as h:
        await h.create("one", "two")
        await h.leaves(2)
    async with house(tmp_path, batch=h.batch, clock=h.clock) as h:
        await eventually(lambda: h.served.house.deferred.submitted == 2)
        await h.passes(1)
        await h.runs()
        reading = asyncio.create_task(h.results(wait=True))
        await h.until(reading.done)  # what was taken up anew may still wait for its moment
        results = await reading
        assert {one.response.text for one in results} == {"answer to: one", "answer to: two"}
        assert (len(h.batch.submitted), (await h.job()).state) == (1, pb.BATCH_JOB_STATE_ENDED)


async def test_waiting_reader_gets_results_as_they_come(tmp_path: Path):
    """One who waits before there are results gets each once, and the end with the last."""
    async with house(tmp_path) as h:
        await h.create("one", "two")
        reading = asyncio.create_task(h.results(wait=True))
        await h.leaves(2)
        assert not reading.done()
        await h.runs()
        await h.until(reading.done)
        assert sorted(one.index for one in await reading) == [0, 1]


async def test_cancelled_job_gives_up_what_waits(tmp_path: Path):
    """What has not left is uncharged and says so; the job is CANCELLED."""
    async with house(tmp_path) as h:
        await h.create("one", "two")
        await eventually(lambda: h.served.house.deferred.waiting == 2)
        await h.served.batch_job.CancelBatchJob(pb.CancelBatchJobRequest(job_id="job"))
        results = await h.results(wait=True)
        job = await h.job()
    assert {read_status(one.status)[0] for one in results} == {"JOB_CANCELLED"}
    assert (job.state, job.failed_count, job.cost_usd_nanos) == (pb.BATCH_JOB_STATE_CANCELLED, 2, 0)
    assert not h.batch.submitted


async def test_cancel_spares_a_caller_of_the_same_question(tmp_path: Path):
    """Whoever waits for the same answer is not cancelled with the job: his call is collected under his own id."""
    async with house(tmp_path) as h:
        await h.create("one")
        await eventually(lambda: h.served.house.deferred.waiting == 1)
        other = asyncio.ensure_future(_complete(h, asked("one", lane=completion_pb2.LANE_DEFERRED)))
        await h.passes(0.01)
        await h.served.batch_job.CancelBatchJob(pb.CancelBatchJobRequest(job_id="job"))
        await h.leaves(1)
        await h.runs()
        await h.until(other.done)
        assert (await other).text == "answer to: one"


async def _complete(h: House, request: completion_pb2.CompleteRequest) -> completion_pb2.CompleteResponse:
    return await h.served.completion.Complete(request)


async def test_jobs_are_listed_newest_first_in_pages(tmp_path: Path):
    """Pages hold together by their tokens."""
    async with house(tmp_path) as h:
        for name in ("a", "b", "c"):
            await h.create("one", name=name)
        first = await h.served.batch_job.ListBatchJobs(pb.ListBatchJobsRequest(page_size=2))
        rest = await h.served.batch_job.ListBatchJobs(pb.ListBatchJobsRequest(page_size=2, page_token=first.next_page_token))
        bad = await failure(h.served.batch_job.ListBatchJobs(pb.ListBatchJobsRequest(page_token="?")))
    assert [[job.id for job in page.jobs] for page in (first, rest)] == [["c", "b"], ["a"]]
    assert (rest.next_page_token, bad.metadata["field"]) == ("", "page_token")


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([], "items"),
        ([pb.BatchJobItem()], "items[0].completion"),
        (
            [pb.BatchJobItem(completion=asked("a")), pb.BatchJobItem(completion=asked("b", temperature=9))],
            "items[1].completion.temperature",
        ),
        ([pb.BatchJobItem(completion=asked("a", lane=completion_pb2.LANE_INTERACTIVE))], "items[0].completion.lane"),
        (
            [pb.BatchJobItem(completion=asked("a"), request_id="same"), pb.BatchJobItem(completion=asked("b"), request_id="same")],
            "items[1].request_id",
        ),
        ([pb.BatchJobItem(completion=asked("a"), request_id="x" * 129)], "items[0].request_id"),
        ([pb.BatchJobItem(completion=asked("a", model="nothing"))], "items[0].completion.model"),
    ],
)
async def test_bad_item_is_refused_before_anything_is_begun(tmp_path: Path, items: list[pb.BatchJobItem], field: str):
    """The error names item and field, and no job is made."""
    async with house(tmp_path) as h:
        refused = await failure(h.served.batch_job.CreateBatchJob(pb.CreateBatchJobRequest(items=items)))
        jobs = await h.served.batch_job.ListBatchJobs(pb.ListBatchJobsRequest())
    assert (refused.metadata["field"], len(jobs.jobs)) == (field, 0)


async def test_lane_that_a_job_has_not_is_refused_in_plain_words(tmp_path: Path):
    """Lines of a job are always deferred, and the error says so."""
    async with house(tmp_path) as h:
        item = pb.BatchJobItem(completion=asked("a", lane=completion_pb2.LANE_FLEX))
        refused = await failure(h.create_items(item))
    assert "lane is 'FLEX'; allowed: unset or DEFERRED, because requests of a job are always deferred" in refused.text


async def test_time_beside_another_lane_is_shown_as_people_write_it(tmp_path: Path):
    """The last moment of the contract too, which lies behind the last second that Python knows."""
    async with house(tmp_path) as h:
        for seconds, nanos, shown in (
            (1_577_836_800, 0, "2020-01-01T00:00:00Z"),
            (253_402_300_799, 999_999_999, "9999-12-31T23:59:59Z"),
        ):
            asking = asked("a", complete_by={"seconds": seconds, "nanos": nanos})
            refused = await failure(h.served.completion.Complete(asking))
            assert refused.text == f"complete_by is '{shown}'; allowed: unset, or a time with lane DEFERRED"


async def test_time_that_has_passed_is_refused(tmp_path: Path):
    """A job can't be complete before it was created."""
    async with house(tmp_path) as h:
        request = pb.CreateBatchJobRequest(items=[pb.BatchJobItem(completion=asked("a"))])
        request.complete_by.FromSeconds(int(h.clock.time()) - 1)
        refused = await failure(h.served.batch_job.CreateBatchJob(request))
    assert refused.metadata["field"] == "complete_by"
    assert (
        refused.text
        == f"complete_by is '{utc_text(h.clock.time() - 1)}'; allowed: a time to come; now is {utc_text(h.clock.time())}"
    )


async def test_unknown_job_is_not_found(tmp_path: Path):
    """For each method that names one."""
    async with house(tmp_path) as h:
        stub = h.served.batch_job
        assert (await failure(stub.GetBatchJob(pb.GetBatchJobRequest(job_id="no")))).reason == "NOT_FOUND"
        assert (await failure(stub.CancelBatchJob(pb.CancelBatchJobRequest(job_id="no")))).reason == "NOT_FOUND"
        missing = await failure(h.results("no"))
    assert (missing.reason, missing.metadata["field"], missing.metadata["job_id"]) == ("NOT_FOUND", "job_id", "no")
    assert "there is no batch job of that id; `aigenctl job list` shows" in missing.text


async def test_job_that_was_never_run_shows_nothing_of_what_another_job_paid(tmp_path: Path):
    """One request id, refused in one job and answered in the next: the first cost nothing, and the sum is what was charged."""
    async with house(tmp_path) as h:
        await h.create_items(pb.BatchJobItem(completion=asked("one", model="two/model-2"), request_id="mine"), name="refused")
        [refused] = await h.results("refused", wait=True)
        await h.create_items(pb.BatchJobItem(completion=asked("one"), request_id="mine"), name="answered")
        await h.leaves(1)
        assert [(await h.job(name)).submitted_count for name in ("refused", "answered")] == [0, 1]
        await h.runs()
        [answered] = await h.results("answered", wait=True)
        first, second = await h.job("refused"), await h.job("answered")
    assert read_status(refused.status)[0] == "CAPABILITY_MISSING"
    assert (first.cost_usd_nanos, first.saved_usd_nanos, first.failed_count) == (0, 0, 1)
    assert second.cost_usd_nanos == answered.response.cost_usd_nanos > 0


async def test_kept_reply_counts_in_the_job_that_paid_for_it(tmp_path: Path):
    """A job that gets what an earlier one paid, or what one pays that runs beside it, adds nothing to the sum of all jobs."""
    async with house(tmp_path) as h:
        item = pb.BatchJobItem(completion=asked("one"), request_id="mine")
        await h.create_items(item, name="first")
        await h.create_items(item, name="beside")
        await h.leaves(1)
        await h.runs()
        await h.until(lambda: not h.served.house.deferred.submitted)
        assert len(await h.results("beside", wait=True)) == 1
        await h.create_items(item, name="later")
        [later] = await h.results("later", wait=True)
        costs = [(await h.job(name)).cost_usd_nanos for name in ("first", "beside", "later")]
    assert later.response.text == "answer to: one"
    assert (costs[0] > 0, costs[1:]) == (True, [0, 0])


async def test_job_whose_id_another_call_uses_shows_nothing_of_its_cost(tmp_path: Path):
    """A request that is refused with REQUEST_ID_REUSED did not pay for the call under its id, whenever that was made."""
    async with house(tmp_path) as h:
        await h.create_items(pb.BatchJobItem(completion=asked("one"), request_id="mine"), name="first")
        await eventually(lambda: h.served.house.deferred.waiting == 1)
        await h.create_items(pb.BatchJobItem(completion=asked("two"), request_id="mine"), name="second")
        [refused] = await h.results("second", wait=True)
        await h.leaves(1)
        await h.runs()
        assert len(await h.results("first", wait=True)) == 1
        costs = [(await h.job(name)).cost_usd_nanos for name in ("first", "second")]
    assert read_status(refused.status)[0] == "REQUEST_ID_REUSED"
    assert (costs[0] > 0, costs[1]) == (True, 0)


async def test_cost_of_a_job_survives_a_restart_under_way(tmp_path: Path):
    """What was paid for a job counts in it, although another life of the daemon brought the answer."""
    async with house(tmp_path) as h:
        await h.create("one")
        await h.leaves(1)
    async with house(tmp_path, batch=h.batch, clock=h.clock) as h:
        await eventually(lambda: h.served.house.deferred.submitted == 1)
        await h.passes(1)
        await h.runs()
        reading = asyncio.create_task(h.results(wait=True))
        await h.until(reading.done)
        [result] = await reading
        assert (await h.job()).cost_usd_nanos == result.response.cost_usd_nanos > 0


async def test_same_job_wanted_at_another_time_is_the_job_that_is_there(tmp_path: Path):
    """An age from now is another moment each time; when a job is wanted does not tell it from others, and its first time holds."""
    async with house(tmp_path) as h:
        wanted = [timestamp(h.clock.time() + days * 86_400) for days in (3, 4)]
        first = await h.create("one", complete_by=wanted[0])
        items = [pb.BatchJobItem(completion=asked("one", complete_by=wanted[1]))]
        assert await h.create_items(*items, complete_by=wanted[1]) == first
        assert (await h.create("one")).complete_by == wanted[0]


async def test_request_id_with_the_same_request_wanted_at_another_time_is_the_same_call(tmp_path: Path):
    """A caller who comes back with an age from now joins his deferred call, and a job that names its id gets its reply."""
    async with house(tmp_path) as h:
        wanted = [timestamp(h.clock.time() + days * 86_400) for days in (3, 4, 5)]
        calls = [
            asyncio.ensure_future(
                h.served.completion.Complete(
                    asked("one", lane=completion_pb2.LANE_DEFERRED, complete_by=by), metadata=(("aigen-request-id", "mine"),)
                )
            )
            for by in wanted[:2]
        ]
        await eventually(lambda: h.served.house.deferred.waiting == 1)
        await h.create_items(pb.BatchJobItem(completion=asked("one"), request_id="mine"), complete_by=wanted[2])
        await h.leaves(1)
        await h.runs()
        await h.until(lambda: all(call.done() for call in calls))
        assert {(await call).text for call in calls} == {"answer to: one"}
        [result] = await h.results(wait=True)
    assert result.response.text == "answer to: one"


@pytest.mark.parametrize(
    ("items", "differs", "said"),
    [
        (["one"], "items", "items are 1, and 2 there"),
        (["one", "three"], "items[1].completion", "items[1].completion differs"),
        (["one", "mine:two"], "items[1].request_id", "items[1].request_id is 'mine', and 'job/1' there"),
    ],
)
async def test_id_of_another_job_is_refused_naming_what_differs(tmp_path: Path, items: list[str], differs: str, said: str):
    """The message speaks of a job id, and of the first field in which the two jobs differ."""
    async with house(tmp_path) as h:
        await h.create("one", "two")
        made = [text.rpartition(":") for text in items]
        refused = await failure(
            h.create_items(*(pb.BatchJobItem(completion=asked(prompt), request_id=name) for name, _, prompt in made))
        )
    assert (refused.reason, refused.metadata["differs"]) == ("REQUEST_ID_REUSED", differs)
    assert refused.text == f"job id job stands for another batch job: {said}; allowed: the same requests, or a new job id"


async def test_old_job_is_dropped(tmp_path: Path):
    """`deferred.job_ttl_s` after its end it is gone with its results."""
    async with house(tmp_path) as h:
        await h.create("one")
        await h.leaves(1)
        await h.runs()
        await h.results(wait=True)
        for _ in range(8):
            await h.passes(86_400)
        await h.passes(3_600)
        await h.passes(0.1)
        assert (await failure(h.served.batch_job.GetBatchJob(pb.GetBatchJobRequest(job_id="job")))).reason == "NOT_FOUND"
        ledger = h.served.house.ledger
        assert await ledger.read(lambda c: c.execute("SELECT count(*) FROM batch_upload").fetchone()) == (0,)


async def test_job_above_the_room_is_refused(tmp_path: Path):
    """Requests of jobs are bounded together, and a refused job leaves nothing behind."""
    async with house(tmp_path, room=1_024) as h:
        refused = await failure(h.create("x" * 2_000))
        assert (refused.reason, refused.retry_after_s) == ("OVERLOADED", 60)
        assert (await failure(h.job())).reason == "NOT_FOUND"


async def test_cancelled_job_gives_up_after_a_restart_what_had_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A kill between the cancel and its work pays for nothing that was told as cancelled."""

    async def killed(*_: object) -> None:
        raise DomainError(Reason.STORAGE_FULL, "here it ended")

    batch, clock = FakeBatchProvider("one"), FakeClock()
    async with house(tmp_path, batch=batch, clock=clock) as h:
        await h.create("one")
        await eventually(lambda: h.served.house.deferred.waiting == 1)
        with monkeypatch.context() as patched:
            patched.setattr(BatchJobs, "_cancel_open", killed)
            patched.setattr(BatchJobs, "_cancel_late", nothing)
            with pytest.raises(grpc.aio.AioRpcError):
                await h.served.batch_job.CancelBatchJob(pb.CancelBatchJobRequest(job_id="job"))
    async with house(tmp_path, batch=batch, clock=clock) as h:
        [result] = await h.results(wait=True)
        assert read_status(result.status)[0] == "JOB_CANCELLED"
        await h.passes(200)
        assert (batch.submitted, h.served.house.deferred.waiting) == ([], 0)


async def test_cancelled_job_waits_after_a_restart_for_what_is_paid_for(tmp_path: Path):
    """A request that lies in a provider's job which can't be stopped keeps its answer; nobody is told that it was not run."""
    batch, clock = FakeBatchProvider("one"), FakeClock()
    async with house(tmp_path, batch=batch, clock=clock) as h:
        await h.create("one")
        await h.leaves(1)
        batch.fail("cancel", ProviderFault(FaultKind.SERVER_ERROR, "down", provider="one", status=500))
        await h.served.batch_job.CancelBatchJob(pb.CancelBatchJobRequest(job_id="job"))
        await eventually(lambda: not batch._faults["cancel"])
    batch.run()
    async with house(tmp_path, batch=batch, clock=clock) as h:
        waiting = asyncio.create_task(h.results(wait=True))
        await h.until(waiting.done)
        [result] = await waiting
        assert result.response.text == "answer to: one"
        assert (await h.job()).answered_count == 1


async def test_cancel_reaches_those_who_wait_for_room(tmp_path: Path):
    """A request that was refused for want of room does not come back once its job is cancelled."""
    async with house(tmp_path, room=1_100) as h:
        await h.create("a" * 700)
        await eventually(lambda: h.served.house.deferred.waiting == 1)
        h.served.house.deferred._size += 1_000  # others took the room
        await h.create("b" * 100, name="second")
        await eventually(lambda: h.clock.sleeper_count)
        await h.served.batch_job.CancelBatchJob(pb.CancelBatchJobRequest(job_id="second"))
        [result] = await h.results("second", wait=True)
        assert read_status(result.status)[0] == "JOB_CANCELLED"
        assert h.served.house.deferred.waiting == 1


async def nothing(*_: object) -> None:
    """Do nothing."""


async def test_lane_that_is_off_takes_nothing(tmp_path: Path):
    """With `features.deferred` off jobs and deferred calls are refused, naming the lane; other calls go on."""
    async with house(tmp_path, features={"deferred": False}) as h:
        for call in (h.create("one"), h.served.completion.Complete(asked("one", lane=completion_pb2.LANE_DEFERRED))):
            refused = await failure(call)
            assert (refused.reason, refused.metadata["field"]) == ("CAPABILITY_MISSING", "lane")
        assert (await h.served.completion.Complete(asked("one"))).cost_usd_nanos
        assert not h.batch.submitted
