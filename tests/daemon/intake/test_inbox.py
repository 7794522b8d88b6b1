"""The inbox directory: what is taken and refused, and that a crash between any two steps leaves no doubt which is next."""

import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aigend.config import InboxSettings
from aigend.intake import inbox_files, work_file
from aigend.intake.inbox import DirectorySource
from aigend.intake.port import Delivery, SourceFault
from aigend.intake.work_file import line_id
from aigend.storage.files import StorageRefused
from structlog.testing import capture_logs

from tests.fakes import FakeClock

LINES = b'{"prompt": "one"}\n\n{"prompt": "two"}\r\n{"prompt": "three"}'


class Box:
    """An inbox on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.inbox, self.work, self.results, self.done, self.refused = (
            folder / name for name in ("inbox", "work", "results", "done", "refused")
        )
        self.inbox.mkdir(mode=0o700, parents=True)
        folder.chmod(0o700)

    def put(self, name: str = "a.jsonl", content: bytes = LINES) -> Path:
        """Put a file in place."""
        (self.inbox / ".fresh").write_bytes(content)
        return (self.inbox / ".fresh").rename(self.inbox / name)

    @asynccontextmanager
    async def life(self, **settings: object) -> AsyncIterator[DirectorySource]:
        """Run a source for as long as the block lasts."""
        values = InboxSettings(**settings)
        source = DirectorySource(self.folder, settings=lambda: values, clock=self.clock)
        await source.open()
        yield source
        await source.close()

    async def through(self, **settings: object) -> list[Delivery]:
        """Answer all that lies there in one life; return what was handed out."""
        async with self.life(**settings) as source:
            deliveries = await handed_out(source)
            for delivery in deliveries:
                await answer(source, delivery)
            return deliveries

    def reason(self, name: str = "a.jsonl") -> str:
        """Return why a file was refused."""
        told = json.loads((self.refused / f"{name}.reason").read_bytes())
        return told["reason"]

    def names(self, folder: Path) -> list[str]:
        """Return what lies in a folder."""
        return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Return an empty inbox."""
    return Box(tmp_path / "box")


def spelled(delivery: Delivery, text: str = "fine") -> bytes:
    """Return a result."""
    return json.dumps({"request_id": delivery.id, **delivery.about, "text": text}).encode()


async def answer(source: DirectorySource, delivery: Delivery) -> None:
    """Deliver and acknowledge."""
    await source.deliver(delivery, spelled(delivery))
    await source.acknowledge(delivery)


async def handed_out(source: DirectorySource) -> list[Delivery]:
    """Return all that can be received now."""
    await source._take()
    return list(await source.receive(1_000)) if source._fresh else []


def found(box: Box, name: str = "a.jsonl") -> list[int]:
    """Return the positions of the results of a file."""
    return [json.loads(line)["index"] for line in (box.results / name).read_bytes().splitlines()]


async def test_file_from_its_arrival_to_its_results(box: Box) -> None:
    """Blank lines are skipped, ids are made of name, content and line, results stand in order, and all is private."""
    box.put()
    async with box.life() as source:
        one, two, three = await source.receive(10)
        digest = hashlib.sha256(LINES).hexdigest()
        assert [one.id, two.id, three.id] == [line_id("a.jsonl", digest, number) for number in (1, 3, 4)]
        assert [one.about, three.about] == [{"index": 0, "line": 1}, {"index": 2, "line": 4}]
        assert two.body == b'{"prompt": "two"}\r'
        for delivery in (three, one):
            await answer(source, delivery)
        head, *lines = (box.work / "a.jsonl.progress").read_bytes().splitlines()
        assert json.loads(head) == {"file": "a.jsonl", "sha256": digest, "lines": 3}
        assert [json.loads(line)["index"] for line in lines] == [2, 0]
        assert box.names(box.results) == []
        await answer(source, two)
    assert found(box) == [0, 1, 2]
    assert (box.names(box.work), box.names(box.inbox), box.names(box.done)) == ([], [], ["a.jsonl"])
    assert (box.done / "a.jsonl").read_bytes() == LINES
    assert stat.S_IMODE((box.results / "a.jsonl").stat().st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in box.folder.iterdir()} == {0o700}


async def test_files_are_taken_oldest_first(box: Box) -> None:
    """Other names than those that end in .jsonl, and hidden ones, are left alone."""
    for age, name in ((1, "b.jsonl"), (2, "a.jsonl")):
        os.utime(box.put(name, name.encode()), (1_000 - age, 1_000 - age))
    for name in ("c.tmp", ".d.jsonl"):
        box.put(name)
    async with box.life() as source:
        assert [delivery.body for delivery in await source.receive(10)] == [b"a.jsonl", b"b.jsonl"]
    assert box.names(box.inbox) == [".d.jsonl", "c.tmp"]


async def test_same_name_waits_for_its_turn_and_for_its_results_to_be_taken(box: Box) -> None:
    """Another file of its name waits for the first; while results lie there it is refused; later it is done beside the first."""
    box.put()
    async with box.life() as source:
        first = await source.receive(10)
        box.put(content=b"another")
        assert await handed_out(source) == []
        for delivery in first:
            await answer(source, delivery)
        assert await handed_out(source) == []
        assert "have not been taken away" in box.reason()
        (box.results / "a.jsonl").unlink()
        box.put(content=b"another")
        (again,) = await source.receive(10)
        await answer(source, again)
    assert box.names(box.done) == ["a.2.jsonl", "a.jsonl"]
    assert found(box) == [0]


async def test_same_file_again_has_the_same_ids(box: Box) -> None:
    """Name and content decide: another name or content is other work."""
    box.put()
    before = [delivery.id for delivery in await box.through()]
    (box.results / "a.jsonl").unlink()
    box.put()
    assert [delivery.id for delivery in await box.through()] == before
    box.put("b.jsonl")
    box.put("c.jsonl", LINES + b" ")
    assert set(before) & {delivery.id for delivery in await box.through()} == set()


def make_fifo(path: Path) -> None:
    """Put a pipe in place, which blocks whoever opens it as a file."""
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b'{"prompt": "ok"}\n{"prompt": "\xff"}'), "line 2 is not UTF-8"),
        (lambda path: path.write_bytes(b"x" * 2_000), "larger than 1024 bytes"),
        (lambda path: path.write_bytes(b" \n\n"), "holds no request"),
        (lambda path: path.symlink_to("/etc/hostname"), "symbolic link"),
        (lambda path: path.mkdir(), "no regular file"),
        (make_fifo, "no regular file"),
        (lambda path: (path.write_bytes(LINES), path.chmod(0o666)), "open to others"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_a_reason(box: Box, make: Callable[[Path], object], reason: str) -> None:
    """It lies in `refused` as it was, its reason beside it, and nothing of it is handed out."""
    make(box.inbox / "a.jsonl")
    assert await box.through(max_file_bytes=1_024) == []
    assert reason in box.reason()
    assert (box.names(box.inbox), box.names(box.work)) == ([], [])
    assert box.names(box.refused) == ["a.jsonl", "a.jsonl.reason"]


async def test_too_many_lines_are_refused(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number is bounded, not only their bytes."""
    monkeypatch.setattr(work_file, "MOST_LINES", 2)
    box.put()
    assert await box.through() == []
    assert "more than 2 requests" in box.reason()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_files_of_others_are_refused(box: Box) -> None:
    """What somebody else owns is not read."""
    os.chown(box.put(), 12_345, -1)
    assert await box.through() == []
    assert "belongs to user 12345" in box.reason()


async def test_names_that_cannot_be_used_are_refused(box: Box) -> None:
    """They get a plain name, and the reason says what theirs was."""
    box.put("a b.jsonl")
    (box.inbox / os.fsdecode(b"\xff.jsonl")).write_bytes(b"x")
    assert await box.through() == []
    told = [json.loads((box.refused / name).read_bytes())["file"] for name in box.names(box.refused) if name.endswith(".reason")]
    assert sorted(told) == ["a b.jsonl", "\udcff.jsonl"]
    assert all(name.startswith("unnamed-") for name in box.names(box.refused))


async def test_refused_names_do_not_overwrite_each_other(box: Box) -> None:
    """The second gets a number."""
    for content in (b"\xff", b"\xfe"):
        box.put(content=content)
        assert await box.through() == []
    assert box.names(box.refused) == ["a.2.jsonl", "a.2.jsonl.reason", "a.jsonl", "a.jsonl.reason"]


async def test_directory_that_was_opened_to_others_is_not_trusted(box: Box) -> None:
    """Whatever lies in it is refused from then on."""
    async with box.life() as source:
        box.inbox.chmod(0o777)
        box.put()
        assert await handed_out(source) == []
        assert "open to others" in box.reason()


@pytest.mark.parametrize("name", ["", "inbox", "results"])
async def test_directory_that_is_open_to_others_ends_the_start(box: Box, name: str) -> None:
    """The error names the setting and the path."""
    (box.folder / name).mkdir(exist_ok=True)
    (box.folder / name).chmod(0o777)
    with pytest.raises(StorageRefused, match=f"inbox.directory.*{name}.*open to others"):
        await box.through()


async def test_linked_folder_ends_the_start(box: Box, tmp_path: Path) -> None:
    """Links are not followed."""
    (box.folder / "done").symlink_to(tmp_path)
    with pytest.raises(StorageRefused, match="done is a symbolic link"):
        await box.through()


async def test_disk_that_fails_at_the_start_ends_it(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code 74 says that it is the disk."""
    monkeypatch.setattr(inbox_files, "load", broken)
    await box.through()
    (box.work / "a.jsonl").write_bytes(LINES)
    with pytest.raises(StorageRefused) as caught:
        await box.through()
    assert caught.value.exit_code == 74


def broken(*_: object, **__: object) -> None:
    """Fail as a disk does."""
    raise OSError(5, "Input/output error")


async def test_file_that_cannot_be_read_now_is_read_later(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not refused for a fault of the disk, and others go on."""
    box.put()
    async with box.life() as source:
        with monkeypatch.context() as patched:
            patched.setattr(inbox_files, "load", broken)
            assert await handed_out(source) == []
            assert box.names(box.work) == ["a.jsonl"]
        assert len(await handed_out(source)) == 3


async def test_file_that_cannot_be_moved_is_told_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else stops for it."""
    box.put()
    async with box.life() as source:
        with monkeypatch.context() as patched:
            patched.setattr(inbox_files.InboxFiles, "_exposed", broken)
            with capture_logs() as lines:
                for _ in range(3):
                    assert await handed_out(source) == []
        assert [(line["event"], line["file"]) for line in lines] == [("intake_stuck", "a.jsonl")]
        assert len(await handed_out(source)) == 3


async def test_file_that_went_away_is_none(box: Box) -> None:
    """A producer may take a file back before it is taken."""
    box.put()
    box.put("b.jsonl", b"x")
    async with box.life() as source:
        assert source._files._arrived() == ["a.jsonl", "b.jsonl"]
        source._files._listed.extend(["a.jsonl", "b.jsonl"])
        (box.inbox / "a.jsonl").unlink()
        assert [delivery.body for delivery in await handed_out(source)] == [b"x"]


async def test_torn_progress_counts_up_to_its_last_whole_line(box: Box) -> None:
    """What a power cut left of a result is written anew over it."""
    box.put()
    async with box.life() as source:
        one, two, _ = await source.receive(10)
        for delivery in (one, two):
            await source.deliver(delivery, spelled(delivery, "before"))
    progress = box.work / "a.jsonl.progress"
    progress.write_bytes(progress.read_bytes()[:-5])
    assert next(delivery.id for delivery in await box.through()) == two.id
    texts = [json.loads(line)["text"] for line in (box.results / "a.jsonl").read_bytes().splitlines()]
    assert texts == ["before", "fine", "fine"]


@pytest.mark.parametrize("garbage", [b"no json\n", b'{"index": 7}\n', b'{"no": 1}\n', b"\0\0\0\n"])
async def test_progress_ends_where_it_cannot_be_read(box: Box, garbage: bytes) -> None:
    """Lines that are no results of this file are written over."""
    box.put()
    async with box.life() as source:
        one = (await source.receive(10))[0]
        await source.deliver(one, spelled(one))
    with (box.work / "a.jsonl.progress").open("ab") as file:
        file.write(garbage)
    assert len(await box.through()) == 2
    assert found(box) == [0, 1, 2]


@pytest.mark.parametrize("head", [b"", b'{"file": "a', b"{}\n", b"[]\n"])
async def test_progress_that_was_not_begun_whole_is_begun_anew(box: Box, head: bytes) -> None:
    """Nothing had been answered then."""
    await box.through()
    (box.work / "a.jsonl").write_bytes(LINES)
    (box.work / "a.jsonl.progress").write_bytes(head)
    async with box.life() as source:
        for delivery in await source.receive(10):
            await answer(source, delivery)
    assert found(box) == [0, 1, 2]


async def test_file_that_was_changed_after_it_was_taken_is_refused(box: Box) -> None:
    """Its lines would get other ids and be paid for again; what was answered goes with it."""
    box.put()
    async with box.life() as source:
        await answer(source, (await source.receive(10))[0])
    (box.work / "a.jsonl").write_bytes(LINES + b"\n{}")
    assert await box.through() == []
    assert "changed after it was taken" in box.reason()
    assert box.names(box.refused) == ["a.jsonl", "a.jsonl.progress", "a.jsonl.reason"]


STEPS = ("taken", "answered", "sorted", "moved", "published")


def crashed_at(box: Box, step: str, progress: bytes) -> None:
    """Leave the folders as a crash after this step does."""
    reached = STEPS.index(step)
    (box.done if reached >= 3 else box.work).joinpath("a.jsonl").write_bytes(LINES)
    lines = progress.splitlines(keepends=True)
    (box.work / "a.jsonl.progress").write_bytes(progress if reached >= 1 else lines[0])
    (box.work / "a.jsonl.new").write_bytes(b"half of something")
    if reached >= 2:
        (box.results if reached >= 4 else box.work).joinpath("a.jsonl" if reached >= 4 else "a.jsonl.results").write_bytes(
            b"".join(sorted(lines[1:]))
        )


@pytest.mark.parametrize("step", STEPS)
async def test_crash_between_the_steps_at_the_end(box: Box, step: str) -> None:
    """From wherever it stands a file comes to the same end, and its results appear once."""
    async with box.life() as source:
        box.put()
        deliveries = await source.receive(10)
        for delivery in deliveries:
            await source.deliver(delivery, spelled(delivery))
    progress = (box.work / "a.jsonl.progress").read_bytes()
    for path in box.work.iterdir():
        path.unlink()
    crashed_at(box, step, progress)
    async with box.life() as source:
        again = await source.receive(10) if step == "taken" else []
        for delivery in again:
            await answer(source, delivery)
        assert [delivery.id for delivery in again] in ([], [delivery.id for delivery in deliveries])
    assert found(box) == [0, 1, 2]
    assert (box.names(box.work), box.names(box.done), box.names(box.results)) == ([], ["a.jsonl"], ["a.jsonl"])


async def test_results_that_were_taken_away_do_not_come_again(box: Box) -> None:
    """A crash after they appeared does not make them appear twice."""
    box.put()
    async with box.life() as source:
        for delivery in await source.receive(10):
            await source.deliver(delivery, spelled(delivery))
        progress = (box.work / "a.jsonl.progress").read_bytes()
    await box.through()
    (box.results / "a.jsonl").unlink()
    (box.work / "a.jsonl.progress").write_bytes(progress)  # the one step that was left
    assert await box.through() == []
    assert (box.names(box.results), box.names(box.work)) == ([], [])


async def test_failed_write_is_told_and_made_good(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was half written is written over, and nobody counts on it before."""
    box.put()
    async with box.life() as source:
        deliveries = await source.receive(10)

        def half(file, data) -> None:
            file.write(bytes(data)[:10])
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(work_file, "_write_all", half)
            with pytest.raises(SourceFault, match="No space left"):
                await source.deliver(deliveries[0], spelled(deliveries[0]))
        for delivery in deliveries:
            await answer(source, delivery)
    assert found(box) == [0, 1, 2]


async def test_end_that_failed_is_tried_again(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last acknowledgement is not taken for done before the results lie where they belong."""
    box.put(content=b"x")
    async with box.life() as source:
        (only,) = await source.receive(10)
        await source.deliver(only, spelled(only))
        with monkeypatch.context() as patched:
            patched.setattr(work_file, "free_path", broken)
            with pytest.raises(SourceFault):
                await source.acknowledge(only)
            assert source.waiting == 1
        await source.acknowledge(only)
    assert found(box) == [0]


async def test_line_without_a_result_is_not_let_go_of(box: Box) -> None:
    """The file could otherwise end without it."""
    box.put(content=b"x")
    async with box.life() as source:
        (only,) = await source.receive(10)
        with pytest.raises(SourceFault):
            await source.acknowledge(only)


async def test_results_are_never_written_over(box: Box) -> None:
    """Should something lie at their place when they appear, they get a number."""
    box.put(content=b"x")
    async with box.life() as source:
        (only,) = await source.receive(10)
        (box.results / "a.jsonl").write_bytes(b"somebody's")
        await answer(source, only)
    assert box.names(box.results) == ["a.2.jsonl", "a.jsonl"]
