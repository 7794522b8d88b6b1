"""The pump: bounded, patient with refusals that pass, every other end a result, and nothing let go of before it is durable."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aigend.completion.batch import Item
from aigend.completion.call import Reply
from aigend.config import InboxSettings
from aigend.errors import DomainError, Reason, invalid
from aigend.intake.intake import ANSWERED, AT_ONCE, LATER, Intake
from aigend.types import Accounting, CacheOutcome, Caller, CompletionRequest, Message, Part, Role, Text
from structlog.testing import capture_logs

from tests.fakes import FakeClock, FakeQueue, FakeWorkSource, settle

SETTINGS = {"retry_delay_s": 10, "max_retry_delay_s": 40, "patience_s": 100, "max_in_flight": 3}


class Codec:
    """Bodies are prompts; one that begins with a dash can't be read."""

    def read(self, body: bytes, request_id: str) -> tuple[Caller, Item]:
        """Return a body as a request."""
        caller, text = Caller(scope="local", request_id=request_id, accounting=Accounting()), body.decode()
        if text.startswith("-"):
            return caller, invalid("prompt", text, "no dash")
        by = float(text.partition(" by ")[2] or 0) or None
        return caller, CompletionRequest(messages=(Message(Role.USER, (Part(Text(text)),)),), complete_by=by)

    def spell(self, request_id: str, end: Reply | BaseException, about: Mapping[str, int]) -> bytes:
        """Return what a test wants to see."""
        told = end.response.decode() if isinstance(end, Reply) else getattr(end, "reason", type(end).__name__)
        return json.dumps({"id": request_id, "end": told, **about}).encode()


class Spine:
    """Answers prompts when it is told to, or refuses them first."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusals: dict[str, list[Exception]] = {}

    async def complete(self, request: CompletionRequest, caller: Caller) -> Reply:
        """Answer."""
        (message,) = request.messages
        content = message.parts[0].content
        assert isinstance(content, Text)
        self.asked.append(content.text)
        await self.gate.wait()
        if refusals := self.refusals.get(content.text):
            raise refusals.pop(0)
        return Reply(f"answer to {content.text}".encode(), CacheOutcome.MISS)


class House:
    """A pump between a fake source and a fake spine."""

    def __init__(self, **changes: object) -> None:
        self.clock, self.queue, self.spine = FakeClock(), FakeQueue(), Spine()
        self.source = FakeWorkSource(self.queue, clock=self.clock)
        self.settings = InboxSettings(**(SETTINGS | changes))
        self.intake = Intake(
            self.source, complete=self.spine.complete, codec=Codec(), settings=lambda: self.settings, clock=self.clock
        )

    @property
    def ends(self) -> list[str]:
        """What came of the work, in the order of its ids."""
        return [json.loads(self.queue.results[name])["end"] for name in sorted(self.queue.results)]

    async def passes(self, seconds: float) -> None:
        """Let time pass, and what it wakes run."""
        self.clock.advance(seconds)
        await settle(60)


@asynccontextmanager
async def house(*bodies: bytes, **changes: object) -> AsyncIterator[House]:
    """Run a pump over this work."""
    made = House(**changes)
    made.queue.put(*bodies)
    yield made
    await made.intake.close()
    assert made.source.closed


async def started(made: House) -> None:
    """Start a pump and let it run as far as it can."""
    await made.intake.start()
    await settle(60)


async def test_work_becomes_results() -> None:
    """Answers and bad requests alike are delivered and let go of, and counted."""
    async with house(b"one", b"-bad", b"two") as h:
        await started(h)
        assert h.ends == ["answer to one", "INVALID_REQUEST", "answer to two"]
        assert (h.queue.work, h.intake.waiting, h.intake.under_way) == ({}, 0, 0)
        assert dict(h.intake.ended) == {ANSWERED: 2, Reason.INVALID_REQUEST: 1}


async def test_no_more_under_way_than_allowed() -> None:
    """The source is asked for as much as there is room, and not at all while there is none."""
    async with house(*(str(number).encode() for number in range(8))) as h:
        h.spine.gate.clear()
        await started(h)
        assert (h.intake.under_way, h.intake.waiting, h.spine.asked) == (3, 8, ["0", "1", "2"])
        assert h.source.most_asked == [3]
        h.spine.gate.set()
        await settle(200)
        assert len(h.ends) == 8
        assert max(h.source.most_asked) <= 3


async def test_no_more_bytes_under_way_than_allowed() -> None:
    """What is under way is bounded in bytes as well; one received before the bound was reached may pass it."""
    async with house(b"a" * 2_000, b"b" * 2_000, b"c", max_size_bytes=1_024, max_in_flight=1_000) as h:
        h.spine.gate.clear()
        await started(h)
        assert h.source.most_asked == [AT_ONCE]
        assert h.intake.under_way == 3
        h.queue.put(b"d")
        await h.passes(5)
        assert h.intake.under_way == 3
        h.spine.gate.set()
        await h.passes(5)
        assert len(h.ends) == 4


@pytest.mark.parametrize("reason", sorted(LATER))
async def test_refusals_that_pass_are_waited_out(reason: Reason) -> None:
    """They are tried again with waits that double, under the same id, until there is an answer."""
    async with house(b"one") as h:
        h.spine.refusals["one"] = [DomainError(reason, "not now") for _ in range(3)]
        await started(h)
        for pause_s, asked in ((9, 1), (1, 2), (19, 2), (1, 3), (39, 3), (1, 4)):
            assert h.ends == []
            await h.passes(pause_s)
            assert len(h.spine.asked) == asked
        assert h.ends == ["answer to one"]


async def test_longer_waits_that_a_refusal_asks_for_are_kept() -> None:
    """`retry_after_s` wins over a shorter wait of our own."""
    async with house(b"one") as h:
        h.spine.refusals["one"] = [DomainError(Reason.OVERLOADED, "full", retry_after_s=70)]
        await started(h)
        await h.passes(69)
        assert len(h.spine.asked) == 1
        await h.passes(1)
        assert h.ends == ["answer to one"]


async def test_patience_ends() -> None:
    """A refusal that does not pass is the result once it was waited out for long enough."""
    async with house(b"one") as h:
        h.spine.refusals["one"] = [DomainError(Reason.BUDGET_EXCEEDED, "spent") for _ in range(100)]
        await started(h)
        for _ in range(12):
            await h.passes(10)
        assert h.ends == ["BUDGET_EXCEEDED"]
        assert len(h.spine.asked) == 5  # at 0, 10, 30, 70 and 110 seconds
        assert h.intake.ended[Reason.BUDGET_EXCEEDED] == 1


async def test_nobody_waits_for_what_is_too_late() -> None:
    """A refusal after the request's own latest time is its result."""
    now = FakeClock().time()
    async with house(f"one by {now + 5}".encode()) as h:
        h.spine.refusals[f"one by {now + 5}"] = [DomainError(Reason.OVERLOADED, "full") for _ in range(9)]
        await started(h)
        assert h.ends == []
        await h.passes(10)
        assert h.ends == ["OVERLOADED"]


@pytest.mark.parametrize("reason", sorted(set(Reason) - LATER - {Reason.DRAINING}))
async def test_every_other_error_is_a_result(reason: Reason) -> None:
    """A repeated id whose outcome is unknown, or whose reply has gone, among them: nothing is asked twice."""
    async with house(b"one") as h:
        h.spine.refusals["one"] = [DomainError(reason, "no")]
        await started(h)
        assert (h.ends, h.spine.asked) == ([reason], ["one"])


async def test_defect_is_a_result() -> None:
    """What nobody thought of ends this piece of work alone."""
    async with house(b"one", b"two") as h:
        h.spine.refusals["one"] = [RuntimeError("a defect")]
        await started(h)
        assert h.ends == ["RuntimeError", "answer to two"]
        assert h.intake.ended[Reason.DAEMON_FAULT] == 1


async def test_nothing_is_received_while_refusals_pass() -> None:
    """One refusal holds up what has not begun, which would be refused as well."""
    async with house(*(str(number).encode() for number in range(9)), max_in_flight=2) as h:
        for number in range(9):
            h.spine.refusals[str(number)] = [DomainError(Reason.OVERLOADED, "full")]
        h.queue.work.pop("work-1")
        h.spine.refusals["2"] = [invalid("prompt", "2", "another")]  # makes room at once
        await started(h)
        assert h.spine.asked == ["0", "2"]
        await h.passes(9)
        assert h.spine.asked == ["0", "2"]
        await h.passes(1)
        assert h.spine.asked[2:4] == ["0", "3"]


async def test_drain_takes_no_more_and_leaves_the_rest() -> None:
    """What the stopping daemon turned away has no result and comes again in the next life."""
    async with house(b"one", b"two", b"three", b"four") as h:
        h.spine.gate.clear()
        for name in ("one", "two", "three"):
            h.spine.refusals[name] = [DomainError(Reason.DRAINING, "stopping")]
        await started(h)
        h.intake.drain()
        h.spine.gate.set()
        await settle(60)
        assert (h.ends, len(h.queue.work), h.intake.under_way) == ([], 4, 0)
        assert h.spine.asked == ["one", "two", "three"]


async def test_close_cancels_what_is_under_way() -> None:
    """It has no result and is not acknowledged."""
    async with house(b"one") as h:
        h.spine.gate.clear()
        await started(h)
        assert h.intake.under_way == 1
    assert (h.queue.results, list(h.queue.work)) == ({}, ["work-0"])


async def test_pump_that_never_started_can_be_closed() -> None:
    """A start that failed elsewhere leaves nothing behind."""
    async with house() as h:
        assert h.intake.waiting == 0


@pytest.mark.parametrize("method", ["deliver", "acknowledge"])
async def test_result_is_handed_over_until_it_is_kept(method: str) -> None:
    """A source that can't take it is asked again, and the spine is not."""
    async with house(b"one") as h:
        h.source.fail(method, 3)
        await started(h)
        assert len(h.queue.work) == 1
        for pause_s in (10, 20, 40):
            await h.passes(pause_s)
        assert (h.queue.work, h.spine.asked) == ({}, ["one"])
        assert h.ends == ["answer to one"]


async def test_source_that_fails_is_asked_again() -> None:
    """Work is received once it can be."""
    async with house(b"one") as h:
        h.source.fail("receive", 2)
        await started(h)
        assert h.ends == []
        await h.passes(10)
        assert h.ends == []
        await h.passes(10)
        assert h.ends == ["answer to one"]


async def test_work_that_breaks_the_codec_is_logged_and_kept() -> None:
    """A defect outside the spine drops this piece from this life alone, says so, and the others go on."""
    async with house(b"\xff", b"two") as h:
        with capture_logs() as lines:
            await started(h)
        assert (h.ends, list(h.queue.work)) == (["answer to two"], ["work-0"])
        assert [line["event"] for line in lines] == ["intake_work_dropped"]
