"""Lane DEFERRED where providers, clocks, keys and settings misbehave: nothing is paid twice, nothing is lost, nobody is lied to."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from aigen.v1 import completion_pb2
from aigend.completion.deferral.places import BatchPlaces, HeldBatch
from aigend.completion.deferral.poller import GIVE_UP_S, LEAST_TRY_S
from aigend.errors import DomainError, Reason
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.verify import verify
from aigend.providers.batch_port import BatchProgress, BatchResult, BatchSearch, Found
from aigend.providers.port import FaultKind, ProviderFault
from aigend.providers.registry import Account

from tests.daemon.completion.test_deferred import GATHER_S, GRACE_S, MAX_WAIT_S, POLL_S, House, house
from tests.fakes import FakeBatchProvider, FakeClock, FakeProvider
from tests.spine import read

MONTH_S = 30 * 86_400.0
DOWN = ProviderFault(FaultKind.SERVER_ERROR, "down", provider="one", status=503)


class Repeating(FakeBatchProvider):
    """Tells every result twice."""

    async def results(self, job_id: str) -> AsyncGenerator[BatchResult, None]:
        """Yield each result and then once more."""
        async for result in super().results(job_id):
            yield result
            yield result


class Forgetful(FakeBatchProvider):
    """Counts answers that its results do not hold, as long as it is told to."""

    forgets = True

    async def results(self, job_id: str) -> AsyncGenerator[BatchResult, None]:
        """Yield all results but one."""
        held_back = self.forgets
        async for result in super().results(job_id):
            if held_back:
                held_back = False
                continue
            yield result


class Broken(FakeBatchProvider):
    """Meets a defect of its own at the first question."""

    async def progress(self, job_id: str) -> BatchProgress:
        """Fail once in a way that nobody foresaw."""
        if not self.polls:
            self.polls += 1
            raise KeyError("a field that is always there")
        return await super().progress(job_id)


async def left(h: House, *texts: str) -> "list[asyncio.Task]":
    """Let calls leave in one job and return those who wait."""
    asked = [h.start(text, request_id=text) for text in texts]
    await h.collected(len(texts))
    await h.passes(MAX_WAIT_S)
    await h.submitted()
    return asked


async def test_result_that_is_told_twice_is_settled_once(tmp_path: Path):
    """The first telling counts, the job ends, and its room is free again."""
    async with house(tmp_path, batch=Repeating("one")) as h:
        asked = await left(h, "one", "two")
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(*asked)
        assert [read(await task).text for task in asked] == ["answer to: one", "answer to: two"]
        await h.until(lambda: not h.spine.deferred.open_jobs)
        assert (h.spine.deferred._size, h.spine.deferred._lines) == (0, {})
    assert verify(tmp_path / "ledger.db") == ()


async def test_answer_that_the_results_lack_is_not_taken_for_one_that_was_not_run(tmp_path: Path):
    """Results that hold fewer answers than the provider counted are read again; nobody is told that nothing was charged."""
    async with house(tmp_path, batch=Forgetful("one")) as h:
        asked = await left(h, "one", "two")
        h.batch.run()
        await h.passes(POLL_S, steps=2)
        assert sorted(await h.states()) == ["settled", "submitted"]
        h.batch.forgets = False
        await h.passes(POLL_S, steps=2)
        await h.ended(*asked)
        assert [read(await task).text for task in asked] == ["answer to: one", "answer to: two"]
        assert await h.states() == ["settled", "settled"]


async def test_results_that_never_come_whole_are_unknown_in_the_end(tmp_path: Path):
    """What was counted and never told may have been charged: its upper bound stays booked."""
    async with house(tmp_path, batch=Forgetful("one"), changes={"poll_max_s": 40_000}) as h:
        asked = await left(h, "one")
        h.batch.run()
        while not asked[0].done():
            await h.passes(20_000)
        with pytest.raises(DomainError, match="OUTCOME_UNKNOWN"):
            await asked[0]
        assert await h.states() == ["unknown"]


async def test_defect_of_an_adapter_leaves_no_job_behind(tmp_path: Path):
    """An error that nobody foresaw is logged, and the job is looked at again."""
    async with house(tmp_path, batch=Broken("one")) as h:
        [asked] = await left(h, "one")
        h.batch.run()
        await h.passes(3 * POLL_S, steps=3)
        await h.ended(asked)
        assert read(await asked).text == "answer to: one"


async def test_loss_that_can_not_be_written_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A ledger that fails at the very moment at which a job is given up leaves the job followed."""
    async with house(tmp_path) as h:
        [asked] = await left(h, "one")
        end_line, failures = BatchDesk.end_line, [1]

        async def failing(desk: BatchDesk, end: object) -> object:
            if failures:
                failures.pop()
                raise DomainError(Reason.STORAGE_FULL, "the disk is full")
            return await end_line(desk, end)

        monkeypatch.setattr(BatchDesk, "end_line", failing)
        h.batch.jobs.clear()
        await h.passes(GRACE_S + 4 * POLL_S, steps=14)
        await h.ended(asked)
        with pytest.raises(DomainError, match="OUTCOME_UNKNOWN"):
            await asked
        assert (failures, await h.states()) == ([], ["unknown"])


async def test_provider_that_left_the_settings_is_waited_for_and_given_up_in_the_end(tmp_path: Path):
    """Its lines stay submitted while it may come back, and are UNKNOWN long after their job must have ended."""

    async def gone(*_: object) -> object:
        raise DomainError(Reason.PROVIDER_NOT_CONFIGURED, "gone")

    async with house(tmp_path, changes={"poll_max_s": 40_000}) as h:
        [asked] = await left(h, "one")
        registry(h).ready = gone
        await h.passes(86_400, steps=4)
        assert await h.states() == ["submitted"]
        while not asked.done():
            await h.passes(20_000)
        with pytest.raises(DomainError, match="OUTCOME_UNKNOWN"):
            await asked


async def test_clock_put_forward_loses_no_job(tmp_path: Path):
    """A month's jump with a provider that is down for a moment changes nothing; the answer comes."""
    async with house(tmp_path) as h:
        [asked] = await left(h, "one")
        h.clock._wall += MONTH_S
        h.batch.fail("progress", DOWN)
        await h.passes(POLL_S)
        assert await h.states() == ["submitted"]
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(asked)
        assert read(await asked).text == "answer to: one"


async def test_control_without_the_least_try_a_clock_put_forward_loses_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By the clock on the wall alone, the first fault after a jump would give up what is about to be answered."""
    monkeypatch.setattr("aigend.completion.deferral.poller.LEAST_TRY_S", 0.0)
    async with house(tmp_path) as h:
        [asked] = await left(h, "one")
        h.clock._wall += MONTH_S
        h.batch.fail("progress", DOWN)
        await h.passes(POLL_S)
        await h.ended(asked)
        with pytest.raises(DomainError, match="OUTCOME_UNKNOWN"):
            await asked
    assert LEAST_TRY_S < GIVE_UP_S


async def test_clock_put_back_keeps_nobody_waiting(tmp_path: Path):
    """How long a line has waited for company is not read from the clock on the wall."""
    async with house(tmp_path) as h:
        h.start("one")
        await h.collected(1)
        h.clock._wall -= MONTH_S
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        assert await h.states() == ["submitted"]


async def test_job_given_up_before_it_was_handed_in_never_is(tmp_path: Path):
    """What nobody wants while its provider can't be reached is released; nothing is handed in only to be stopped."""
    async with house(tmp_path) as h:
        for _ in range(3):
            h.batch.fail_submit(ProviderFault(FaultKind.UNREACHABLE, "refused", provider="one"), accepted=False)
        asked = h.start("one", request_id="one")
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.submitted)
        await h.spine.deferred.cancel("local", "one")
        with pytest.raises(DomainError, match="JOB_CANCELLED"):
            await asked
        assert (len(h.batch.submitted), await h.states()) == (1, ["released"])


async def test_another_key_that_does_not_see_the_job_proves_nothing(tmp_path: Path):
    """After a restart with another key, a job that may exist under the old one is not handed in again."""
    clock = FakeClock()
    batch = FakeBatchProvider("one", now=clock.time)
    batch.fail_submit(ProviderFault(FaultKind.RESET, "cut", provider="one"), accepted=True)
    async with house(tmp_path, batch=batch, clock=clock) as h:
        h.start("one", request_id="one")
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.jobs)
    async with house(tmp_path, batch=batch, clock=clock) as h:
        registry(h).identity = "another key"
        batch.will_find(*[BatchSearch(found=Found.ABSENT)] * 1_000)
        await h.passes(GRACE_S * 3, steps=30)
        assert (len(batch.submitted), await h.states()) == (1, ["submitted"])


async def test_control_the_same_key_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Were every key believed, the job would be handed in a second time under the new one."""
    held = BatchPlaces.held

    async def believed(places: BatchPlaces, upload: object) -> HeldBatch:
        return HeldBatch(batch=(await held(places, upload)).batch, same=True)

    monkeypatch.setattr(BatchPlaces, "held", believed)
    async with house(tmp_path) as h:
        h.batch.fail_submit(ProviderFault(FaultKind.RESET, "cut", provider="one"), accepted=True)
        h.batch.will_find(*[BatchSearch(found=Found.ABSENT)] * 1_000)
        h.start("one")
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.until(lambda: h.batch.jobs)
        await h.passes(GRACE_S + 2 * POLL_S, steps=12)
        await h.until(lambda: len(h.batch.submitted) > 1)
        assert len(h.batch.submitted) == 2


def test_fingerprint_tells_keys_apart_and_shows_none():
    """The same key gives the same mark, another another one, and neither stands in it or in the account's spelling."""
    provider = FakeProvider("one")
    one, two = (Account(1, provider, None, f"https://a sk-planted-{name}") for name in ("one", "two"))
    assert one.fingerprint("salt") == one.fingerprint("salt") != two.fingerprint("salt")
    assert one.fingerprint("salt") != one.fingerprint("other")
    assert "planted" not in repr(one) + one.fingerprint("salt")


async def test_call_that_comes_twice_at_once_is_one_line(tmp_path: Path):
    """The second arrives while the place of the first is looked for, past all caches, and joins it."""
    async with house(tmp_path) as h:
        asked = [h.start("one", request_id="mine", mode=completion_pb2.CACHE_MODE_BYPASS) for _ in range(2)]
        await h.collected(1)
        await h.passes(MAX_WAIT_S)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(*asked)
        assert {read(reply).text for reply in await asyncio.gather(*asked)} == {"answer to: one"}
        assert (len(h.batch.submitted), await h.states()) == (1, ["settled"])


async def test_request_that_can_not_be_spelled_holds_no_money(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing was booked for it, and it poisons no job."""

    def unspelled(*_: object) -> int:
        raise DomainError(Reason.INVALID_REQUEST, "it has no spelling")

    monkeypatch.setattr(FakeBatchProvider, "size_of", unspelled)
    async with house(tmp_path) as h:
        with pytest.raises(DomainError, match="INVALID_REQUEST"):
            await h.start("one")
        assert (await h.entries(), h.spine.deferred.waiting) == ([], 0)


async def test_given_up_calls_leave_nothing_behind(tmp_path: Path):
    """A call may be asked again under the id that was given up, and is answered."""
    async with house(tmp_path) as h:
        first = h.start("one", request_id="mine")
        await h.collected(1)
        await h.spine.deferred.cancel("local", "mine")
        with pytest.raises(DomainError, match="JOB_CANCELLED"):
            await first
        again = h.start("one", request_id="mine")
        await h.collected(1)
        await h.passes(GATHER_S + MAX_WAIT_S)
        await h.submitted()
        h.batch.run()
        await h.passes(POLL_S)
        await h.ended(again)
        assert read(await again).text == "answer to: one"


def registry(h: House) -> object:
    """Return what hands out accounts."""
    return h.spine.deferred._places._providers
