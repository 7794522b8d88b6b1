"""Batch lines in the ledger: reserved while they wait, submitted before they leave, ended once, kept across restarts."""

import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from aigend.ledger import batch_rows
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.batch_rows import AGE_BOUND_S, LineEnd, LineFacts, UploadRow
from aigend.ledger.entries import AlreadyKnown, AttemptState, Reservation, StateConflict
from aigend.ledger.ledger import Ledger
from aigend.ledger.verify import verify

from tests.daemon.ledger.ledger_calls import NOW, budget, intent, opened, rows, settlement
from tests.fakes import FakeClock

FACTS = LineFacts(
    custom_id="token", account=2, request=b"a request", cache_key=b"k", input_tokens=7, max_output_tokens=3, start_by=NOW + 60
)
UPLOAD = UploadRow(
    id=0,
    mark="mark",
    provider="p",
    model="m",
    account=2,
    provider_job_id="",
    line_count=0,
    cancelled=False,
    create_time=0.0,
)


def desk_of(ledger: Ledger) -> BatchDesk:
    """Return the desk of a ledger."""
    return BatchDesk(ledger, clock=ledger._clock)


async def collected(ledger: Ledger, *names: str) -> list[Reservation]:
    """Collect lines."""
    desk = desk_of(ledger)
    return [await desk.collect(intent(name), replace(FACTS, custom_id=uuid.uuid4().hex), allow_repeat=False) for name in names]


def ended(reservation: Reservation, state: AttemptState = AttemptState.SETTLED, **fields) -> LineEnd:
    """Return how a line ended."""
    settled = settlement(400) if state is AttemptState.SETTLED else None
    return LineEnd(**{"attempt_id": reservation.attempt_id, "state": state, "settlement": settled, "reply_ttl_s": 60.0} | fields)


async def test_line_is_held_from_its_collection_to_its_end(tmp_path: Path):
    """The budget holds the bound while the line waits and is under way, and books the cost once."""
    async with opened(tmp_path, budget()) as ledger:
        [line] = await collected(ledger, "a")
        desk = desk_of(ledger)
        held = [(state.reserved_nanos, state.spent_nanos) for state in ledger.budget_status(NOW)]
        await desk.submit(UPLOAD, [line.attempt_id])
        held += [(state.reserved_nanos, state.spent_nanos) for state in ledger.budget_status(NOW)]
        assert (await desk.end_line(ended(line))) is not None
        held += [(state.reserved_nanos, state.spent_nanos) for state in ledger.budget_status(NOW)]
        assert held == [(1_000, 0), (1_000, 0), (0, 400)]
        assert await rows(ledger, "SELECT event FROM journal WHERE attempt_id = 1") == [("reserved",), ("submitted",), ("settled",)]
        assert await rows(ledger, "SELECT count(*) FROM batch_line") == [(0,)]
    assert verify(tmp_path / "ledger.db") == ()


async def test_line_ends_once(tmp_path: Path):
    """A second end changes nothing, whichever it is."""
    async with opened(tmp_path, budget()) as ledger:
        [line] = await collected(ledger, "a")
        desk = desk_of(ledger)
        await desk.submit(UPLOAD, [line.attempt_id])
        assert await desk.end_line(ended(line)) is not None
        for state in (AttemptState.SETTLED, AttemptState.RELEASED, AttemptState.UNKNOWN):
            assert await desk.end_line(ended(line, state)) is None
        assert ledger.budget_status(NOW)[0].spent_nanos == 400
    assert verify(tmp_path / "ledger.db") == ()


@pytest.mark.parametrize("state", [AttemptState.SETTLED, AttemptState.UNKNOWN, AttemptState.RELEASED])
async def test_line_that_has_not_left_ends_as_released_only(tmp_path: Path, state: AttemptState):
    """What was not submitted can't have been charged; and what was submitted is not released as if it had not left."""
    async with opened(tmp_path) as ledger:
        [line] = await collected(ledger, "a")
        desk = desk_of(ledger)
        assert await desk.end_line(ended(line, state)) is None  # as if it had left
        early = await desk.end_line(ended(line, state, source=AttemptState.RESERVED, reason="cancelled"))
        assert (early is not None) == (state is AttemptState.RELEASED)


async def test_lines_leave_all_or_none(tmp_path: Path):
    """A line that was released meanwhile keeps the whole upload from being written, and is named."""
    async with opened(tmp_path) as ledger:
        first, second = await collected(ledger, "a", "b")
        desk = desk_of(ledger)
        await desk.end_line(ended(second, AttemptState.RELEASED, source=AttemptState.RESERVED))
        with pytest.raises(StateConflict) as conflict:
            await desk.submit(UPLOAD, [first.attempt_id, second.attempt_id])
        assert conflict.value.attempt_id == second.attempt_id
        assert await rows(ledger, "SELECT state FROM attempt ORDER BY id") == [("reserved",), ("released",)]
        assert await rows(ledger, "SELECT count(*) FROM batch_upload") == [(0,)]


async def test_control_without_guard_a_line_leaves_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is the guarded change of state that keeps a line out of a second upload."""
    async with opened(tmp_path) as ledger:
        [line] = await collected(ledger, "a")
        desk = desk_of(ledger)
        await desk.submit(UPLOAD, [line.attempt_id])
        with pytest.raises(StateConflict):
            await desk.submit(replace(UPLOAD, mark="other"), [line.attempt_id])
        monkeypatch.setattr(batch_rows, "_SUBMIT", "UPDATE attempt SET state = ?, update_us = ? WHERE id = ? AND ? != ''")
        monkeypatch.setattr(batch_rows, "_JOIN", "UPDATE batch_line SET upload_id = ? WHERE attempt_id = ?")
        await desk.submit(replace(UPLOAD, mark="other"), [line.attempt_id])
        assert len(await rows(ledger, "SELECT 1 FROM journal WHERE event = 'submitted'")) == 2


async def test_same_id_is_known_while_its_line_is_open(tmp_path: Path):
    """A line that waits or is under way counts as in flight; after its release the id is free again."""
    async with opened(tmp_path) as ledger:
        [line] = await collected(ledger, "a")
        for _ in range(2):
            with pytest.raises(AlreadyKnown):
                await collected(ledger, "a")
        await desk_of(ledger).end_line(ended(line, AttemptState.RELEASED, source=AttemptState.RESERVED))
        [again] = await collected(ledger, "a")
        assert again.attempt_number == 2


async def test_restart_leaves_lines_and_uploads_as_they_are(tmp_path: Path):
    """Young lines wait on, submitted ones are left to their job, and all that they need is there again."""
    async with opened(tmp_path) as ledger:
        waiting, left = await collected(ledger, "waits", "left")
        upload = await desk_of(ledger).submit(UPLOAD, [left.attempt_id])
        await desk_of(ledger).name(upload.id, "job-7")
    async with opened(tmp_path) as ledger:
        lines, uploads = await desk_of(ledger).open_work()
    assert [(line.reservation.intent.request_id, line.upload_id) for line in lines] == [("waits", None), ("left", upload.id)]
    assert (lines[0].reservation.attempt_id, lines[0].facts.request, lines[0].facts.start_by) == (
        waiting.attempt_id,
        b"a request",
        NOW + 60,
    )
    assert lines[0].facts.custom_id.startswith(f"a{waiting.attempt_id}-")
    assert [(one.mark, one.provider_job_id, one.line_count) for one in uploads] == [("mark", "job-7", 1)]


async def test_restart_releases_lines_that_waited_too_long(tmp_path: Path):
    """The age bound counts from the collection, and what goes with it is the request alone."""
    async with opened(tmp_path, budget()) as ledger:
        await collected(ledger, "a")
    async with opened(tmp_path, budget(), clock=FakeClock(NOW + AGE_BOUND_S)) as ledger:
        assert await rows(ledger, "SELECT state FROM attempt") == [("released",)]
        assert await desk_of(ledger).open_work() == ([], [])
    assert verify(tmp_path / "ledger.db") == ()


async def test_providers_id_is_stored_once(tmp_path: Path):
    """A second id does not replace the first, and an upload with open lines can't be closed."""
    async with opened(tmp_path) as ledger:
        [line] = await collected(ledger, "a")
        desk = desk_of(ledger)
        upload = await desk.submit(UPLOAD, [line.attempt_id])
        await desk.name(upload.id, "first")
        await desk.name(upload.id, "second")
        await desk.cancel(upload.id)
        await desk.end_upload(upload.id, outcome="ended")
        [open_upload] = (await desk.open_work())[1]
        assert (open_upload.provider_job_id, open_upload.cancelled) == ("first", True)
        await desk.end_line(ended(line))
        await desk.end_upload(upload.id, outcome="ended")
        assert (await desk.open_work())[1] == []


async def test_reply_lasts_until_it_is_fetched(tmp_path: Path):
    """A line's reply is kept for its own time, and from its fetching on for the usual one."""
    clock = FakeClock(NOW)
    async with opened(tmp_path, clock=clock) as ledger:
        [line] = await collected(ledger, "a")
        desk = desk_of(ledger)
        await desk.submit(UPLOAD, [line.attempt_id])
        await desk.end_line(ended(line, reply_ttl_s=1_000.0))
        clock.jump(500)
        assert await ledger.reply("me", "a") == b"answer"
        await desk.fetched("me", "a", keep_s=10.0)
        clock.jump(11)
        assert await ledger.reply("me", "a") is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM batch_line", "an attempt of a batch job has no line"),
        ("UPDATE attempt SET state = 'sent'", "a batch line belongs to no attempt that waits for it"),
        ("UPDATE batch_upload SET outcome = 'ended'", "a batch line lies in no open upload"),
    ],
)
async def test_verify_finds_lines_that_do_not_fit(tmp_path: Path, damage: str, said: str):
    """Lines, attempts and uploads are compared with each other."""
    async with opened(tmp_path) as ledger:
        [line] = await collected(ledger, "a")
        await desk_of(ledger).submit(UPLOAD, [line.attempt_id])
        await ledger.write(lambda connection: connection.execute(damage))
    assert any(finding.startswith(said) for finding in verify(tmp_path / "ledger.db"))
