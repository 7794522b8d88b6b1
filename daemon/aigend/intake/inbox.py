"""A directory as a source of work: each line of a file is a piece of work, each file ends as a file of results.

All that touches the disk runs in one thread of its own, one thing after the other; results that come together are synced together.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog

from aigend.clock import Clock
from aigend.config import InboxSettings
from aigend.intake.inbox_files import InboxFiles
from aigend.intake.port import Delivery, SourceFault
from aigend.intake.work_file import Folders, WorkFile
from aigend.storage.files import EXIT_IO, StorageRefused

_log = structlog.get_logger("aigend.intake")
T = TypeVar("T")


class _Place(NamedTuple):
    """One line of a file in work."""

    file: WorkFile
    position: int
    number: int


class _Result(NamedTuple):
    """A result that waits to be written."""

    place: _Place
    line: bytes
    written: "asyncio.Future[None]"


class DirectorySource:
    """Implements `WorkSource` with the folders of an inbox.

    Args:
        directory: Where the folders lie.
        settings: Returns the settings in force.
        clock: Waits between two looks for new files.
    """

    def __init__(self, directory: Path, *, settings: Callable[[], InboxSettings], clock: Clock) -> None:
        self._files = InboxFiles(Folders(directory), lambda: settings().max_file_bytes)
        self._settings = settings
        self._clock = clock
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="aigend-inbox")
        self._fresh: deque[_Place] = deque()  # not handed out
        self._handed: dict[str, _Place] = {}  # by delivery, until acknowledged
        self._open_lines: dict[WorkFile, int] = {}  # neither acknowledged in this life nor answered in an earlier one
        self._results: list[_Result] = []
        self._writing: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Lines of taken files that have no result."""
        return len(self._fresh) + len(self._handed)

    async def open(self) -> None:
        """Take up the files that earlier lives had in work."""
        try:
            files = await self._on_disk(self._files.open)
        except SourceFault as fault:
            raise StorageRefused(str(fault), path=self._files.folders.root, exit_code=EXIT_IO) from fault
        for file in files:
            self._add(file)

    async def receive(self, most: int) -> Sequence[Delivery]:
        """Return lines of the files in work, oldest first, and take further files where these have too few."""
        while not self._fresh:
            if not await self._take():
                await self._clock.sleep(self._settings().poll_s)
        while len(self._fresh) < most and await self._take():
            pass
        places = list(islice(self._fresh, most))
        bodies = await self._on_disk(partial(_bodies, places))
        for _ in places:
            self._fresh.popleft()
        return [self._handed_out(place, body) for place, body in zip(places, bodies, strict=True)]

    async def deliver(self, delivery: Delivery, result: bytes) -> None:
        """Add a line's result to its file's progress."""
        place = self._handed.get(delivery.id)
        if place is None:
            return
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._results.append(_Result(place, result, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await written

    async def acknowledge(self, delivery: Delivery) -> None:
        """Let go of a line; with the last one its file's results appear."""
        place = self._handed.get(delivery.id)
        if place is None:
            return
        file = place.file
        if place.position not in file.results:
            raise SourceFault("a line without a result can't be let go of")
        if self._open_lines[file] == 1:
            await self._on_disk(file.finish)
            _log.info("intake_done", file=file.name, lines=len(file.lines))
            del self._open_lines[file]
        else:
            self._open_lines[file] -= 1
        del self._handed[delivery.id]

    async def close(self) -> None:
        """Finish what is being written."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        await asyncio.to_thread(self._disk.shutdown)

    async def _take(self) -> bool:
        file = await self._on_disk(self._files.take)
        if file is None:
            return False
        self._add(file)
        return True

    def _add(self, file: WorkFile) -> None:
        places = [_Place(file, position, number) for position, number in enumerate(file.lines) if position not in file.results]
        self._open_lines[file] = len(places)
        self._fresh.extend(places)

    def _handed_out(self, place: _Place, body: bytes) -> Delivery:
        name = place.file.line_id(place.number)
        self._handed[name] = place
        return Delivery(id=name, body=body, about={"index": place.position, "line": place.number})

    async def _write(self) -> None:
        """Write what waits, and what comes meanwhile after it."""
        while self._results:
            results, self._results = self._results, []
            error: Exception | None = None
            try:
                await self._on_disk(partial(_append, results))
            except Exception as failure:  # noqa: BLE001 - told to all who wait
                error = failure
            for result in results:
                if result.written.done():  # its waiter has gone
                    continue
                if error is None:
                    result.written.set_result(None)
                else:
                    result.written.set_exception(error)
        self._writing = None

    async def _on_disk(self, work: Callable[[], T]) -> T:
        """Do something in the disk's thread.

        Raises:
            SourceFault: The disk fails.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, work)
        except OSError as error:
            raise SourceFault(f"the inbox's disk: {error.strerror or type(error).__name__}") from error


def _bodies(places: Sequence[_Place]) -> list[bytes]:
    """Return what the lines hold, each file opened once for those that follow each other."""
    bodies: list[bytes] = []
    rest = deque(places)
    while rest:
        file, numbers = rest[0].file, []
        while rest and rest[0].file is file:
            numbers.append(rest.popleft().number)
        bodies += file.read(numbers)
    return bodies


def _append(results: Sequence[_Result]) -> None:
    by_file: defaultdict[WorkFile, dict[int, bytes]] = defaultdict(dict)
    for place, line, _ in results:
        by_file[place.file].setdefault(place.position, line)
    for file, lines in by_file.items():
        file.append(lines)
