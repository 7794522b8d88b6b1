"""The contract of sources of work: the inbox directory and the fake of other tests pass the same suite."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aigend.config import InboxSettings
from aigend.intake.inbox import DirectorySource
from aigend.intake.port import Delivery, WorkSource

from tests.fakes import FakeClock, FakeQueue, FakeWorkSource, settle
from tests.spine import eventually

BODIES = (b'{"prompt": "one"}', b'{"prompt": "two"}', b'{"prompt": "three"}')


def result(delivery: Delivery, text: str = "a result") -> bytes:
    """Return a result as the pump spells it."""
    return json.dumps({"request_id": delivery.id, **delivery.about, "text": text}).encode()


class FakeWorld:
    """A queue in memory whose sources come and go."""

    def __init__(self, _: Path) -> None:
        self.clock = FakeClock()
        self.queue = FakeQueue()

    def put(self, *bodies: bytes) -> None:
        """Add work."""
        self.queue.put(*bodies)

    def source(self) -> WorkSource:
        """Return a source of another life."""
        return FakeWorkSource(self.queue, clock=self.clock)

    def results(self) -> list[Mapping[str, object]]:
        """Return what a consumer finds."""
        return [json.loads(line) for line in self.queue.results.values()]


class DirectoryWorld:
    """An inbox on the disk whose sources come and go."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.folder = folder
        self._puts = 0

    def put(self, *bodies: bytes) -> None:
        """Add a file with work."""
        self._puts += 1
        inbox = self.folder / "inbox"
        inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        (inbox / "fresh").write_bytes(b"\n".join(bodies) + b"\n")
        (inbox / "fresh").rename(inbox / f"{self._puts}.jsonl")

    def source(self) -> WorkSource:
        """Return a source of another life."""
        return DirectorySource(self.folder, settings=InboxSettings, clock=self.clock)

    def results(self) -> list[Mapping[str, object]]:
        """Return what a consumer finds."""
        files = sorted((self.folder / "results").iterdir())
        return [json.loads(line) for path in files for line in path.read_bytes().splitlines()]


World = FakeWorld | DirectoryWorld


@pytest.fixture(params=[FakeWorld, DirectoryWorld])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Return each of the worlds."""
    return request.param(tmp_path / "box")


@asynccontextmanager
async def life(world: World) -> AsyncIterator[WorkSource]:
    """Run a source for as long as the block lasts."""
    source = world.source()
    await source.open()
    yield source
    await source.close()


async def finish(source: WorkSource, deliveries: Sequence[Delivery]) -> None:
    """Deliver and acknowledge."""
    for delivery in deliveries:
        await source.deliver(delivery, result(delivery))
        await source.acknowledge(delivery)


async def test_work_comes_once_in_a_life(world: World) -> None:
    """At most as much as was asked for at a time, each piece once, under ids that differ and can be request ids."""
    world.put(*BODIES)
    async with life(world) as source:
        first, rest = await source.receive(2), await source.receive(10)
        assert [delivery.body for delivery in [*first, *rest]] == list(BODIES)
        assert (len(first), len(rest), source.waiting) == (2, 1, 3)
        names = {delivery.id for delivery in [*first, *rest]}
        assert len(names) == 3
        assert all(name.isprintable() and 1 <= len(name) <= 128 for name in names)


async def test_waits_until_there_is_work(world: World) -> None:
    """Nobody is sent away with nothing; what comes later is found by the clock."""
    async with life(world) as source:
        waiting = asyncio.create_task(source.receive(5))
        await eventually(lambda: world.clock.sleeper_count)
        assert not waiting.done()
        world.put(BODIES[0])
        world.clock.advance(10)
        assert [delivery.body for delivery in await waiting] == [BODIES[0]]


async def test_what_was_not_acknowledged_comes_again_under_its_id(world: World) -> None:
    """The next life gets the same bytes under the same id."""
    world.put(*BODIES)
    async with life(world) as source:
        before = await source.receive(10)
    async with life(world) as source:
        assert await source.receive(10) == before


async def test_what_was_acknowledged_does_not_come_again(world: World) -> None:
    """Its result is there, once; the rest comes again."""
    world.put(*BODIES)
    async with life(world) as source:
        first, *rest = await source.receive(10)
        await finish(source, [first])
        assert source.waiting == 2
    async with life(world) as source:
        again = await source.receive(10)
        assert again == rest
        await finish(source, again)
        assert source.waiting == 0
    assert [found["request_id"] for found in world.results()] == [first.id, *(delivery.id for delivery in rest)]


async def test_first_result_counts(world: World) -> None:
    """A result that is delivered twice, in one life or two, is there once, as it was first."""
    world.put(BODIES[0], BODIES[1])
    async with life(world) as source:
        one, _ = await source.receive(10)
        await source.deliver(one, result(one, "first"))
        await source.deliver(one, result(one, "second"))
    async with life(world) as source:
        for delivery in await source.receive(10):
            await source.deliver(delivery, result(delivery, "third"))
            await source.acknowledge(delivery)
        await eventually(lambda: len(world.results()) == 2)
    assert [found["text"] for found in world.results()] == ["first", "third"]


async def test_results_that_come_together_are_all_kept(world: World) -> None:
    """Whoever delivers at the same time loses nothing."""
    world.put(*(b'{"prompt": "%d"}' % number for number in range(50)))
    async with life(world) as source:
        deliveries = await source.receive(50)
        await asyncio.gather(*(finish(source, [delivery]) for delivery in deliveries[::-1]))
    assert [found["request_id"] for found in sorted(world.results(), key=lambda found: str(found["request_id"]))] == sorted(
        delivery.id for delivery in deliveries
    )


async def test_acknowledging_twice_does_no_harm(world: World) -> None:
    """Neither does delivering to what was let go of."""
    world.put(BODIES[0])
    async with life(world) as source:
        (delivery,) = await source.receive(1)
        await finish(source, [delivery])
        await finish(source, [delivery])
        await settle()
    assert len(world.results()) == 1
