"""Lane DEFERRED: collected into batch jobs, settled once at the batch price, joined by id, and kept across restarts."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aigen.v1 import completion_pb2
from aigend.completion.call import Reply
from aigend.completion.deferral.places import BatchPlaces
from aigend.completion.deferral.poller import Jobs
from aigend.errors import DomainError, Reason
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.batch_rows import LineEnd
from aigend.ledger.entries import AttemptState
from aigend.ledger.entries_store import EntriesQuery, LedgerEntry, list_entries
from aigend.ledger.verify import verify
from aigend.providers.batch_port import BatchLimits, BatchSearch, Found
from aigend.providers.port import FaultKind, ProviderFault
from aigend.rpc.request import unpack_request
from aigend.types import CacheMode, Caller, CompletionRequest, Lane

from tests.fakes import FakeBatchProvider, FakeClock, settle
from tests.spine import Spine, caller, eventually, read, spine

MAX_WAIT_S = 60.0
GATHER_S = 5.0
POLL_S = 10.0
GRACE_S = 100.0
DEFERRED = {
    "max_wait_s": MAX_WAIT_S,
    "gather_s": GATHER_S,
    "poll_min_s": POLL_S,
    "poll_max_s": POLL_S,
    "absent_grace_s": GRACE_S,
    "max_lines": 50,
}


class House:
    """A spine whose provider one has a batch API."""

    def __init__(self, spine: Spine, batch: FakeBatchProvider, folder: Path) -> None:
        self.spine, self.batch, self.clock, self.folder = spine, batch, spine.clock, folder

    def start(
        self, text: str = "a question", *, request_id: str = "", complete_by: float | None = None, **fields
    ) -> "asyncio.Task[Reply]":
        """Begin to ask for a deferred answer."""
        request, who = deferred(text, request_id=request_id, complete_by=complete_by, **fields)
        return asyncio.create_task(self.spine.engine.complete(request, who))

    async def collected(self, count: int) -> None:
        """Wait until so many lines wait for company."""
        await eventually(lambda: self.spine.deferred.waiting == count)

    async def submitted(self, jobs: int = 1) -> None:
        """Wait until the provider has so many jobs and the daemon their ids."""
        await self.until(lambda: len(self.batch.jobs) == jobs and not self.spine.deferred.waiting)
        await eventually(lambda: self.batch.polls >= jobs)
        await self.passes(0)  # and it sleeps until the next look

    async def passes(self, seconds: float, *, steps: int = 1) -> None:
        """Let time pass in steps, with what it wakes done in between."""
        for _ in range(steps):
            self.clock.advance(seconds / steps)
            await self._quiet()

    async def until(self, holds: Callable[[], object]) -> None:
        """Let time pass until something holds: whoever went to sleep late on a busy machine gets its turn too."""
        while not holds():
            await self.passes(1)

    async def _quiet(self) -> None:
        """Wait for what was woken: its way leads through the ledger's threads some times, however slow they are."""
        for _ in range(8):
            with contextlib.suppress(DomainError):
                await self.spine.ledger.write(lambda _: None)
            with contextlib.suppress(DomainError):
                await self.spine.ledger.read(lambda _: None)
            await settle()
            await asyncio.sleep(0.001)

    async def ended(self, *asked: "asyncio.Task[Reply]") -> None:
        """Let time pass until calls have ended; a poller that was late for its sleep on a busy machine gets its next look."""
        while not all(task.done() for task in asked):
            await self.passes(POLL_S)

    async def entries(self) -> list[LedgerEntry]:
        """Return the ledger's entries, oldest first."""
        page = await self.spine.ledger.read(lambda connection: list_entries(connection, EntriesQuery(scope="local")))
        return sorted(page.entries, key=lambda entry: int(entry.id))

    async def states(self) -> list[str]:
        """Return the states of all attempts."""
        return [str(entry.state) for entry in await self.entries()]


def deferred(text: str, *, request_id: str = "", complete_by: float | None = None, **fields) -> tuple[CompletionRequest, Caller]:
    """Return a deferred request with whose call it is."""
    message = completion_pb2.CompleteRequest(prompt=text, model="one/model-1", lane=completion_pb2.LANE_DEFERRED, **fields)
    if complete_by is not None:
        message.complete_by.FromNanoseconds(int(complete_by * 1e9))
    wire = message.SerializeToString(deterministic=True)
    return unpack_request(message), caller(request_id, digest=hashlib.sha256(wire).digest(), wire=wire)


@asynccontextmanager
async def house(
    folder: Path,
    *,
    batch: FakeBatchProvider | None = None,
    clock: FakeClock | None = None,
    changes: Mapping[str, object] | None = None,
    **more,
) -> AsyncIterator[House]:
    """Run a spine with a batch API on files in `folder`."""
    clock = clock or FakeClock()
    batch = batch or FakeBatchProvider("one", now=clock.time)
    settings = {"deferred": DEFERRED | dict(changes or {})} | more
    async with spine(folder, clock=clock, batches={"one": batch}, **settings) as built:
        yield House(built, batch, folder)


async def test_lone_call_leaves_after_its_wait_and_is_settled_at_the_batch_price(tmp_path: Path):
    """It waits for company no longer than `max_wait_s`, costs what batch jobs cost, and says what that saved."""
    async with house(tmp_path) as h:
        asked = h.start("a question", request_id="alone")
        await h.collected(1)
        assert await h.states() == ["reserved"]
        await h.passes(MAX_WAIT_S - 1)
        assert not h.batch.submitted
        await h.passes(1)
        await h.submitted()
        assert await h.states() == ["submitted"]
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(asked)
        response = read(await asked)
        [entry] = await h.entries()
    assert response.text == "answer to: a question"
    assert (entry.state, entry.cost.price_entry_id.endswith("#batch")) == (AttemptState.SETTLED, True)
    assert response.cost_usd_nanos == entry.cost.nanos == entry.savings["batch"]
    assert verify(tmp_path / "ledger.db") == ()


async def test_two_calls_leave_together_once_no_further_one_comes(tmp_path: Path):
    """Company shortens the wait to `gather_s` after the last arrival, and both lie in one job."""
    async with house(tmp_path) as h:
        first = h.start("one")
        await h.collected(1)
        await h.passes(20)
        second = h.start("two")
        await h.collected(2)
        await h.passes(GATHER_S)
        await h.submitted()
        assert [len(job.lines) for job in h.batch.jobs.values()] == [2]
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(first, second)
        assert {read(await asked).text for asked in (first, second)} == {"answer to: one", "answer to: two"}


async def test_latest_start_sends_a_lone_call(tmp_path: Path):
    """A call whose `complete_by` leaves little more than the provider's window leaves in time for it."""
    async with house(tmp_path) as h:
        asked = h.start(complete_by=h.clock.time() + 86_400 + 10)
        await h.collected(1)
        await h.passes(9)
        assert not h.batch.submitted
        await h.passes(2)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(asked)
        assert not read(await asked).warnings


async def test_call_that_no_batch_job_can_promise_goes_out_singly(tmp_path: Path):
    """With less time than the provider's window it is sent at once at the ordinary price, and its caller is told."""
    async with house(tmp_path) as h:
        response = read(await h.start(complete_by=h.clock.time() + 3_600))
        [entry] = await h.entries()
        assert not h.batch.submitted
    assert response.warnings[0].startswith("complete_by is nearer than the 24 h that a batch job may take")
    assert (entry.state, entry.savings) == (AttemptState.SETTLED, {})


async def test_equal_calls_share_one_line(tmp_path: Path):
    """A second caller with the same question follows the first and pays nothing; an interactive one does not wait."""
    async with house(tmp_path) as h:
        first = h.start("same")
        await h.collected(1)
        second = h.start("same")
        at_once = read(await h.spine.ask("same", mode=CacheMode.NO_STORE))
        assert at_once.text == "answer to: same"
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(first, second)
        outcomes = [completion_pb2.CacheOutcome.Name(read(await asked).cache_outcome) for asked in (first, second)]
    assert outcomes == ["CACHE_OUTCOME_MISS", "CACHE_OUTCOME_COALESCED"]


async def test_caller_who_left_joins_again_by_its_id(tmp_path: Path):
    """Leaving cancels nothing: the same id waits for the same line, and another request under it is refused."""
    async with house(tmp_path) as h:
        asked = h.start("a question", request_id="mine")
        await h.collected(1)
        asked.cancel()
        again = h.start("a question", request_id="mine")
        with pytest.raises(DomainError, match="REQUEST_ID_REUSED"):
            await h.start("another question", request_id="mine")
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(again)
        assert read(await again).text == "answer to: a question"
        assert await h.states() == ["settled"]


async def test_answer_is_kept_until_it_is_fetched(tmp_path: Path):
    """A reply outlives the hour of others while nobody has asked for it, and lasts that hour from then on."""
    async with house(tmp_path) as h:
        h.start("a question", request_id="mine", mode=completion_pb2.CACHE_MODE_NO_STORE)
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        h.batch.run()
    clock = FakeClock(h.clock.time() + POLL_S)
    async with house(tmp_path, batch=h.batch, clock=clock) as h:
        await h.until(lambda: not h.spine.deferred.open_jobs)
        await h.passes(86_400)
        request = h.start("a question", request_id="mine", mode=completion_pb2.CACHE_MODE_NO_STORE)
        await h.ended(request)
        assert read(await request).text == "answer to: a question"
        await h.passes(3_601)
        with pytest.raises(DomainError, match="REPLY_GONE"):
            await h.start("a question", request_id="mine", mode=completion_pb2.CACHE_MODE_NO_STORE)


async def test_line_that_waits_survives_a_restart(tmp_path: Path):
    """What was reserved waits on in the next life of the daemon, and the same id joins it."""
    async with house(tmp_path) as h:
        asked = h.start("a question", request_id="mine")
        await h.collected(1)
        h.spine.engine.drain()
        with pytest.raises(DomainError, match="DRAINING"):
            await asked
    async with house(tmp_path, batch=h.batch, clock=h.clock) as h:
        again = h.start("a question", request_id="mine")
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(again)
        assert read(await again).text == "answer to: a question"
        assert (len(h.batch.submitted), await h.states()) == (1, ["settled"])
    assert verify(tmp_path / "ledger.db") == ()


async def test_line_that_could_not_leave_for_a_day_is_released(tmp_path: Path):
    """The age bound ends what holds money without leaving, also across a restart."""
    async with house(tmp_path) as h:
        h.start("a question", request_id="mine")
        await h.collected(1)
    async with house(tmp_path, batch=h.batch, clock=FakeClock(h.clock.time() + 86_401)) as h:
        assert await h.states() == ["released"]
        assert h.spine.deferred.waiting == 0


async def test_job_whose_hand_in_was_cut_off_is_found_and_not_handed_in_again(tmp_path: Path):
    """A reset after the request may have made the job: it is looked for by its mark and followed."""
    async with house(tmp_path) as h:
        h.batch.fail_submit(ProviderFault(FaultKind.RESET, "cut", provider="one"), accepted=True)
        asked = h.start()
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.jobs)
        await h.passes(POLL_S)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(asked)
        assert read(await asked).text == "answer to: a question"
        assert (len(h.batch.submitted), h.batch.searches) == (1, 1)


async def test_job_that_never_arrived_is_handed_in_after_its_grace(tmp_path: Path):
    """While the provider's list may lag nothing is sent again; then it is, once."""
    async with house(tmp_path) as h:
        h.batch.fail_submit(ProviderFault(FaultKind.TIMEOUT, "late", provider="one"))
        asked = h.start()
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.submitted)
        await h.passes(GRACE_S - POLL_S, steps=9)
        assert len(h.batch.submitted) == 1
        await h.passes(2 * POLL_S, steps=2)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(asked)
        assert read(await asked).text == "answer to: a question"
        assert len(h.batch.submitted) == 2


async def test_undecided_search_is_asked_again(tmp_path: Path):
    """A provider that can't tell yet is asked again, however long that takes, and nothing is handed in meanwhile."""
    async with house(tmp_path) as h:
        h.batch.fail_submit(ProviderFault(FaultKind.TIMEOUT, "late", provider="one"), accepted=True)
        h.batch.will_find(*[BatchSearch(found=Found.UNDECIDED)] * 30)
        asked = h.start()
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.jobs)
        await h.passes(30 * POLL_S, steps=30)
        assert len(h.batch.submitted) == 1
        await h.passes(POLL_S)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(asked)
        assert read(await asked).text == "answer to: a question"


async def test_refused_job_charges_nothing(tmp_path: Path):
    """A hand-in that the provider rejects releases its lines with the provider's word; the same id may try again."""
    async with house(tmp_path) as h:
        h.batch.fail_submit(ProviderFault(FaultKind.REJECTED, "no", provider="one", status=400))
        asked = h.start(request_id="mine")
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.ended(asked)
        with pytest.raises(DomainError, match="PROVIDER_REFUSED"):
            await asked
        assert await h.states() == ["released"]
        h.start(request_id="mine")
        await h.collected(1)
        assert await h.states() == ["released", "reserved"]


async def test_unreachable_provider_is_tried_again(tmp_path: Path):
    """Where not a byte has left the job is handed in later, without a search."""
    async with house(tmp_path) as h:
        h.batch.fail_submit(ProviderFault(FaultKind.UNREACHABLE, "down", provider="one"))
        asked = h.start()
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.submitted)
        await h.passes(POLL_S)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(asked)
        assert read(await asked).text == "answer to: a question"
        assert h.batch.searches == 0


async def test_each_line_ends_by_its_own_result(tmp_path: Path):
    """An answer settles, an error releases, a line that was not run is released, and each caller is told its own."""
    async with house(tmp_path) as h:
        asked = [h.start(text) for text in ("good", "bad", "late")]
        await h.collected(3)
        await h.passes(GATHER_S)
        await h.submitted()
        [job] = h.batch.jobs.values()
        ids = {line.call.request.messages[0].parts[0].content.text: line.custom_id for line in job.lines}
        fault = ProviderFault(FaultKind.REJECTED, "no", provider="one", status=400)
        h.batch.run(outcomes={ids["bad"]: fault, ids["late"]: None})
        await h.passes(POLL_S)
        await h.ended(*asked)
        ends = await asyncio.gather(*asked, return_exceptions=True)
        states = {entry.request_id: str(entry.state) for entry in await h.entries()}
    assert read(ends[0]).text == "answer to: good"
    assert [end.reason for end in ends[1:]] == [Reason.PROVIDER_REFUSED, Reason.PROVIDER_TIMEOUT]
    assert sorted(states.values()) == ["released", "released", "settled"]
    assert verify(tmp_path / "ledger.db") == ()


async def test_expired_job_settles_what_was_run(tmp_path: Path):
    """A window that passes releases what was not run."""
    async with house(tmp_path) as h:
        asked = [h.start(text) for text in ("one", "two")]
        await h.collected(2)
        await h.passes(GATHER_S)
        await h.submitted()
        h.batch.expire(answered=1)
        await h.passes(POLL_S)
        await h.ended(*asked)
        await asyncio.gather(*asked, return_exceptions=True)
        assert sorted(await h.states()) == ["released", "settled"]


async def test_results_that_break_off_are_read_again_and_settled_once(tmp_path: Path):
    """What came before the break is booked once; the rest comes with the next reading."""
    async with house(tmp_path) as h:
        asked = [h.start(f"question {number}") for number in range(40)]
        await h.collected(40)
        await h.passes(GATHER_S)
        await h.submitted()
        h.batch.run()
        h.batch.cut_results(35, ProviderFault(FaultKind.RESET, "cut", provider="one"))
        await h.passes(POLL_S)
        await h.until(lambda: sum(task.done() for task in asked) >= 32)
        await h.passes(2 * POLL_S)
        await h.ended(*asked)
        await asyncio.gather(*asked)
        assert await h.states() == ["settled"] * 40
        stats = await h.spine.stats()
    assert stats.totals.miss_count == 40
    assert verify(tmp_path / "ledger.db") == ()


async def test_job_that_the_provider_forgot_may_have_been_charged(tmp_path: Path):
    """A job that is gone leaves its lines UNKNOWN at their upper bound, which stays booked."""
    async with house(tmp_path) as h:
        asked = h.start(request_id="mine")
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        h.batch.jobs.clear()
        await h.passes(POLL_S)
        assert await h.states() == ["submitted"]  # what lists say may lag behind
        await h.passes(GRACE_S + POLL_S, steps=12)
        await h.ended(asked)
        with pytest.raises(DomainError, match="OUTCOME_UNKNOWN"):
            await asked
        assert await h.states() == ["unknown"]
        assert (await h.entries())[0].cost.price_entry_id.endswith("#batch")  # at which price a correction by hand settles it


async def test_provider_that_never_answers_is_given_up(tmp_path: Path):
    """A day after the window's end what was not told is UNKNOWN."""
    async with house(tmp_path, changes={"poll_max_s": 40_000}) as h:
        asked = h.start()
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        for _ in range(1_000):
            h.batch.fail("progress", ProviderFault(FaultKind.SERVER_ERROR, "down", provider="one", status=500))
        while not asked.done():
            await h.passes(20_000)
        with pytest.raises(DomainError, match="OUTCOME_UNKNOWN"):
            await asked


async def test_room_for_deferred_calls_is_bounded(tmp_path: Path):
    """The call above `deferred.max_lines` is refused with OVERLOADED, and nothing is reserved for it."""
    async with house(tmp_path, changes={"max_lines": 1}) as h:
        h.start("one")
        await h.collected(1)
        with pytest.raises(DomainError, match=r"OVERLOADED.*deferred\.max_lines"):
            await h.start("two")
        assert await h.states() == ["reserved"]


async def test_reservation_counts_in_budgets(tmp_path: Path):
    """What waits is held in the budget at the batch price, and a refusal is the caller's own."""
    budgets = ({"name": "tight", "period": "daily", "limit_usd": "0.05"},)
    async with house(tmp_path, budgets=budgets) as h:
        h.start("one", max_output_tokens=9_000)
        await h.collected(1)
        [state] = h.spine.ledger.budget_status(h.clock.time())
        assert 45_000_000 <= state.reserved_nanos < 46_000_000  # 9,000 tokens at 5 USD a million
        with pytest.raises(DomainError, match="BUDGET_EXCEEDED"):
            await h.start("two", max_output_tokens=9_000)


async def test_jobs_keep_to_the_providers_limits(tmp_path: Path):
    """More lines than a job holds leave in several, at once and in order."""
    clock = FakeClock()
    limits = BatchLimits(max_lines=3, max_bytes=10_000_000, window_s=86_400)
    async with house(tmp_path, clock=clock, batch=FakeBatchProvider("one", now=clock.time, limits=limits)) as h:
        asked = [h.start(f"question {number}") for number in range(7)]
        await eventually(lambda: len(h.batch.jobs) == 2)  # full: no wait
        await h.passes(MAX_WAIT_S)
        await h.submitted(3)
        assert sorted(len(job.lines) for job in h.batch.jobs.values()) == [1, 3, 3]
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(*asked)
        await asyncio.gather(*asked)


async def test_provider_without_batch_jobs_is_refused(tmp_path: Path):
    """A lane that the provider does not have is never ignored; another allowed route that has it serves."""
    async with house(tmp_path) as h:
        told = r"CAPABILITY_MISSING.*lane DEFERRED.*provider two has no batch API.*set providers.two.batch_api to use if it has one"
        with pytest.raises(DomainError, match=told):
            await h.spine.ask(model="two/model-2", lane=Lane.DEFERRED)


async def test_cancelled_line_that_waits_is_released(tmp_path: Path):
    """Nothing was sent, so nothing is charged."""
    async with house(tmp_path) as h:
        asked = h.start(request_id="mine")
        await h.collected(1)
        await h.spine.deferred.cancel("local", "mine")
        with pytest.raises(DomainError, match="JOB_CANCELLED"):
            await asked
        assert await h.states() == ["released"]


async def test_job_is_stopped_once_nobody_wants_its_lines(tmp_path: Path):
    """One unwanted line of two goes on; with both the provider is asked to stop."""
    async with house(tmp_path) as h:
        asked = [h.start(text, request_id=text) for text in ("one", "two")]
        await h.collected(2)
        await h.passes(GATHER_S)
        await h.submitted()
        await h.spine.deferred.cancel("local", "one")
        await h.passes(POLL_S)
        assert await h.states() == ["submitted", "submitted"]
        await h.spine.deferred.cancel("local", "two")
        await h.ended(*asked)
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert [end.reason for end in ends] == [Reason.JOB_CANCELLED] * 2
        assert await h.states() == ["released", "released"]


async def test_job_is_given_up_where_the_provider_never_says_whether_it_has_it(tmp_path: Path):
    """A search that stays undecided past the window ends as UNKNOWN, and nothing was handed in twice."""
    async with house(tmp_path, changes={"poll_max_s": 40_000}) as h:
        h.batch.fail_submit(ProviderFault(FaultKind.TIMEOUT, "late", provider="one"), accepted=True)
        h.batch.will_find(*[BatchSearch(found=Found.UNDECIDED)] * 1_000)
        asked = h.start()
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.jobs)
        while not asked.done():
            await h.passes(20_000)
        with pytest.raises(DomainError, match="OUTCOME_UNKNOWN"):
            await asked
        assert len(h.batch.submitted) == 1


async def test_control_without_the_search_a_job_is_handed_in_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is the search by our own mark that keeps a job whose hand-in was cut off from being made again."""

    async def certain(*_: object) -> bool:
        return True

    monkeypatch.setattr(Jobs, "_found_or_absent", certain)
    async with house(tmp_path) as h:
        h.batch.fail_submit(ProviderFault(FaultKind.RESET, "cut", provider="one"), accepted=True)
        h.start()
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.jobs)
        await h.passes(POLL_S)
        await h.until(lambda: len(h.batch.jobs) > 1)
        assert len(h.batch.submitted) == 2


async def test_restarted_line_is_shared_by_equal_calls(tmp_path: Path):
    """Another caller with the same question follows a line that an earlier life of the daemon handed in."""
    async with house(tmp_path) as h:
        h.start("same", request_id="first")
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.submitted()
    async with house(tmp_path, batch=h.batch, clock=h.clock) as h:
        other = h.start("same", request_id="other")
        await h.passes(0.01)
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(other)
        assert read(await other).cache_outcome == completion_pb2.CACHE_OUTCOME_COALESCED
        assert len(h.batch.submitted) == 1


async def test_answer_above_its_budget_warns(tmp_path: Path):
    """A threshold that the settlement passes is told in the response of the one who waits."""
    budgets = ({"name": "tiny", "period": "daily", "limit_usd": "0.00005", "action": "warn"},)
    async with house(tmp_path, budgets=budgets) as h:
        asked = h.start()
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(asked)
        assert any("budget tiny passed" in warning for warning in read(await asked).warnings)


async def test_ledger_that_can_not_write_loses_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Results that could not be booked are fetched and booked again."""
    async with house(tmp_path) as h:
        asked = h.start()
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        booked, failures = BatchDesk.end_line, [DomainError(Reason.STORAGE_FULL, "no room")]

        async def end_line(desk: BatchDesk, end: LineEnd) -> object:
            if failures:
                raise failures.pop()
            return await booked(desk, end)

        monkeypatch.setattr(BatchDesk, "end_line", end_line)
        h.batch.run()
        await h.passes(POLL_S)
        await h.passes(2 * POLL_S)
        await h.ended(asked)
        assert read(await asked).text == "answer to: a question"
        assert await h.states() == ["settled"]


async def test_rate_limited_hand_in_waits_as_told(tmp_path: Path):
    """A hand-in that the provider puts off is made when it said, without a search."""
    async with house(tmp_path) as h:
        h.batch.fail_submit(ProviderFault(FaultKind.RATE_LIMITED, "slow down", provider="one", status=429, retry_after_s=50))
        asked = h.start()
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.submitted)
        await h.passes(49)
        assert len(h.batch.submitted) == 1
        await h.passes(2)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(asked)
        assert read(await asked).text == "answer to: a question"
        assert h.batch.searches == 0


async def test_job_that_can_not_be_written_leaves_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Lines whose SUBMITTED could not be made durable stay where they are, and nothing has left."""
    async with house(tmp_path) as h:
        asked = h.start()
        await h.collected(1)
        written, failures = BatchDesk.submit, [DomainError(Reason.STORAGE_FULL, "no room"), RuntimeError("a defect")]

        async def submit(desk: BatchDesk, *given: object) -> object:
            if failures:
                raise failures.pop(0)
            return await written(desk, *given)

        monkeypatch.setattr(BatchDesk, "submit", submit)
        for _ in range(2):
            await h.passes(MAX_WAIT_S)
            assert (h.batch.submitted, await h.states()) == ([], ["reserved"])
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(asked)
        assert read(await asked).text == "answer to: a question"


async def test_line_that_is_released_elsewhere_holds_up_no_other(tmp_path: Path):
    """A job leaves without a line whose attempt has ended meanwhile."""
    async with house(tmp_path) as h:
        asked = [h.start(text) for text in ("one", "two")]
        await h.collected(2)
        desk = BatchDesk(h.spine.ledger, clock=h.clock)
        await desk.end_line(LineEnd(attempt_id=1, state=AttemptState.RELEASED, source=AttemptState.RESERVED))
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.jobs)
        assert [len(job.lines) for job in h.batch.jobs.values()] == [1]
        assert not any(task.done() for task in asked)


async def test_line_is_given_up_while_the_daemon_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What can't leave for a day is released and told, without a restart."""

    async def nowhere(*_: object) -> object:
        raise DomainError(Reason.PROVIDER_NOT_CONFIGURED, "gone")

    async with house(tmp_path) as h:
        asked = h.start()
        await h.collected(1)
        monkeypatch.setattr(BatchPlaces, "account_of", nowhere)
        while not asked.done():
            await h.passes(3_000)
        with pytest.raises(DomainError, match="PROVIDER_UNAVAILABLE"):
            await asked
        assert await h.states() == ["released"]
