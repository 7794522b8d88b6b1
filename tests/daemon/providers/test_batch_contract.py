"""The contract of batch APIs: adapters against the emulator and the fake of other rooms' tests pass the same suite."""

import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import serving
from aigend.providers.batch_port import BatchProvider, BatchResult, BatchState, Found, may_be_accepted
from aigend.providers.port import FaultKind, ProviderFault, ProviderReply
from aigend.types import Processing

from tests.daemon.providers.asking import request
from tests.daemon.providers.batch_worlds import SCRIPTED, WORLDS, BatchWorld, FakeBatchWorld, SdkBatchWorld, line, lines

MARK = "aigen-job-1"
LATE_REFUSERS = [name for name in WORLDS if name == "fake" or name.startswith("openai")]  # the others refuse a job at once


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[BatchWorld]:
    """Return each of the worlds."""
    if request.param == "fake":
        yield FakeBatchWorld()
        return
    with serving(Emulator(EmulatorSettings())) as server:
        made = SdkBatchWorld(request.param, server)
        yield made
        await made.batch.aclose()


async def results(batch: BatchProvider, job_id: str) -> dict[str, BatchResult]:
    """Return all results of a job by the names of its lines."""
    return {result.custom_id: result async for result in batch.results(job_id)}


async def submitted(world: BatchWorld, count: int = 4) -> str:
    """Return a new job."""
    return await world.batch.submit(lines(count), mark=MARK)


async def test_a_job_runs_until_all_its_lines_have_an_answer(world: BatchWorld) -> None:
    """A job counts its lines, runs, ends, and each line gets its own answer under its name, at the batch price."""
    job_id = await submitted(world)
    progress = await world.batch.progress(job_id)
    assert (progress.state, progress.total) == (BatchState.RUNNING, 4)
    world.run()
    progress = await world.batch.progress(job_id)
    assert (progress.state, progress.total, progress.done, progress.failed) == (BatchState.ENDED, 4, 4, 0)
    found = await results(world.batch, job_id)
    assert set(found) == {item.custom_id for item in lines(4)}
    replies = [result.outcome for result in found.values()]
    assert all(isinstance(reply, ProviderReply) and reply.processing is Processing.BATCH and reply.usage for reply in replies)
    assert len({reply.parts[0].content.text for reply in replies}) == 4
    assert world.charged() in (4, None)


async def test_results_may_be_fetched_again_and_cost_nothing_more(world: BatchWorld) -> None:
    """Asking twice gives the same, and every line is billed once."""
    job_id = await submitted(world)
    world.run()
    first, second = await results(world.batch, job_id), await results(world.batch, job_id)
    assert {name: result.outcome.parts for name, result in first.items()} == {
        name: result.outcome.parts for name, result in second.items()
    }
    assert world.charged() in (4, None)


async def test_results_may_be_left_in_the_middle(world: BatchWorld) -> None:
    """A reader that stops early leaves nothing open, and what it read holds."""
    job_id = await submitted(world)
    world.run()
    async with contextlib.aclosing(world.batch.results(job_id)) as some:
        assert isinstance((await anext(some)).outcome, ProviderReply)
    assert len(await results(world.batch, job_id)) == 4


async def test_a_line_that_fails_is_a_fault_of_its_own(world: BatchWorld) -> None:
    """A refused line has its fault, with the status that a call of its own would have had; the others have answers."""
    job_id = await submitted(world)
    world.fail_line("question 2")
    world.run()
    progress = await world.batch.progress(job_id)
    assert (progress.state, progress.done, progress.failed) == (BatchState.ENDED, 3, 1)
    found = await results(world.batch, job_id)
    fault = found.pop("a2-7").outcome
    assert isinstance(fault, ProviderFault)
    assert (fault.kind, fault.status) == (FaultKind.REJECTED, 400)
    assert all(isinstance(result.outcome, ProviderReply) for result in found.values())


async def test_a_job_whose_time_is_over_keeps_what_was_run(world: BatchWorld) -> None:
    """Lines that were not run say so, or do not appear; what was billed has an answer."""
    if isinstance(world, SdkBatchWorld):
        world.slow()
    job_id = await submitted(world)
    world.expire()
    assert (await world.batch.progress(job_id)).state is BatchState.EXPIRED
    found = await results(world.batch, job_id)
    answered = [result for result in found.values() if isinstance(result.outcome, ProviderReply)]
    assert all(result.outcome is None for result in found.values() if result not in answered)
    assert world.charged() in (len(answered), None)
    assert len(answered) < 4


async def test_a_cancelled_job_keeps_what_was_run(world: BatchWorld) -> None:
    """Cancelling stops the rest, which says that it was not run or does not appear."""
    job_id = await submitted(world)
    world.half()
    await world.batch.cancel(job_id)
    assert (await world.batch.progress(job_id)).state is BatchState.CANCELLED
    found = await results(world.batch, job_id)
    answered = [result for result in found.values() if isinstance(result.outcome, ProviderReply)]
    assert len(answered) == (2 if isinstance(world, SdkBatchWorld) else 0)
    assert world.charged() in (len(answered), None)


async def test_cancelling_what_has_ended_changes_nothing(world: BatchWorld) -> None:
    """A job that has ended stays so, and no error is raised."""
    job_id = await submitted(world)
    world.run()
    await world.batch.cancel(job_id)
    assert (await world.batch.progress(job_id)).state is BatchState.ENDED


async def test_an_unknown_job_is_not_found(world: BatchWorld) -> None:
    """Every question about it is refused with 404."""
    for asking in (
        world.batch.progress("batch_unknown"),
        world.batch.cancel("batch_unknown"),
        results(world.batch, "batch_unknown"),
    ):
        with pytest.raises(ProviderFault) as caught:
            await asking
        assert (caught.value.kind, caught.value.status) == (FaultKind.REJECTED, 404)


@pytest.mark.parametrize("kind", SCRIPTED, ids=str)
async def test_a_failed_submit_says_whether_there_may_be_a_job(world: BatchWorld, kind: FaultKind) -> None:
    """A refusal in the provider's words means that there is none; anything else may have made one."""
    world.fail_submit(kind, accepted=False)
    with pytest.raises(ProviderFault) as caught:
        await submitted(world)
    assert caught.value.kind is kind
    assert may_be_accepted(caught.value) is (kind not in (FaultKind.REJECTED, FaultKind.AUTH, FaultKind.RATE_LIMITED))
    search = await world.batch.find(MARK, [item.custom_id for item in lines(4)], since=time.time())
    assert search.found is Found.ABSENT
    assert await submitted(world)


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.SERVER_ERROR, FaultKind.BAD_ANSWER], ids=str)
async def test_a_job_whose_id_was_lost_is_found(world: BatchWorld, kind: FaultKind) -> None:
    """A job that was made in spite of a failed submit is found, by the latest when it has ended, and has the results."""
    since = time.time()
    world.fail_submit(kind, accepted=True)
    with pytest.raises(ProviderFault):
        await submitted(world)
    names = [item.custom_id for item in lines(4)]
    search = await world.batch.find(MARK, names, since=since)
    assert search.found is (Found.FOUND if world.shows_marks else Found.UNDECIDED)
    world.run()
    search = await world.batch.find(MARK, names, since=since)
    assert search.found is Found.FOUND
    assert set(await results(world.batch, search.job_id)) == set(names)


async def test_jobs_of_others_are_not_taken_for_ours(world: BatchWorld) -> None:
    """A job with another mark and other lines is not ours, even when it is as long."""
    since = time.time()
    await world.batch.submit(lines(4, prefix="b"), mark="another")
    world.run()
    search = await world.batch.find(MARK, [item.custom_id for item in lines(4)], since=since)
    assert search.found is Found.ABSENT


async def test_a_job_is_found_among_many(world: BatchWorld) -> None:
    """The list is looked through page by page."""
    since = time.time()
    job_id = await submitted(world, 2)
    for number in range(120):
        await world.batch.submit(lines(1, prefix=f"b{number}-"), mark=f"other-{number}")
    world.run()
    search = await world.batch.find(MARK, [item.custom_id for item in lines(2)], since=since)
    assert (search.found, search.job_id) == (Found.FOUND, job_id)


@pytest.mark.parametrize("world", LATE_REFUSERS, indirect=True)
async def test_a_job_refused_as_a_whole_has_failed(world: BatchWorld) -> None:
    """Nothing of it is run, billed or to be fetched, and the reason holds no prompt."""
    if isinstance(world, FakeBatchWorld):
        job_id = await submitted(world)
        world.batch.refuse(job_id)
    else:
        job_id = await world.batch.submit(world.refuse_whole(), mark=MARK)
    progress = await world.batch.progress(job_id)
    assert progress.state is BatchState.FAILED
    assert "hello" not in progress.message
    assert await results(world.batch, job_id) == {}
    assert world.charged() in (0, None)


async def test_a_line_has_a_length_that_grows_with_its_prompt(world: BatchWorld) -> None:
    """The length is of the line as uploaded, so at least that of its prompt."""
    short, long = world.batch.size_of(line("a1-7", "x")), world.batch.size_of(line("a1-7", "x" * 1_000))
    assert long - short == 999
    assert world.batch.limits.max_lines > 0
    assert world.batch.limits.max_bytes > long
    assert world.batch.limits.window_s >= 86_400


async def test_a_plain_request_can_go_in_a_job(world: BatchWorld) -> None:
    """What every provider can send passes the check."""
    world.batch.check(request())


async def test_closing_twice_is_harmless(world: BatchWorld) -> None:
    """A batch API may be closed again."""
    await world.batch.aclose()
    await world.batch.aclose()
