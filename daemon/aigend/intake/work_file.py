"""One file of requests that was taken: its lines, the results it has so far, and how it ends.

`NAME` and its companions lie in the folder `work`. `NAME.progress` begins with a line that pins the file's digest; results are
appended to it as they come, synced before anybody counts on them. A file with all its results ends in steps that are one rename
each, so that a crash between two of them leaves no doubt which is next: the results in the order of the lines are made durable as
`NAME.results`, the input goes to `done`, the results appear in `results`, the progress goes.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from aigend.storage.files import StorageRefused, open_ours, sync_directory

MOST_LINES = 100_000
PROGRESS, RESULTS, FRESH = ".progress", ".results", ".new"
_NEVER = (errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV)  # what does not pass by itself


class FileRefused(Exception):  # noqa: N818 - names what happened
    """A file that can't be used as a whole; the text says why and what is allowed."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of an inbox."""

    root: Path

    @property
    def inbox(self) -> Path:
        """Where producers put files."""
        return self.root / "inbox"

    @property
    def work(self) -> Path:
        """Files that were taken, with their progress."""
        return self.root / "work"

    @property
    def results(self) -> Path:
        """Results of whole files, for whoever takes them away."""
        return self.root / "results"

    @property
    def done(self) -> Path:
        """Files whose results are there."""
        return self.root / "done"

    @property
    def refused(self) -> Path:
        """Files that could not be used, each with its reason."""
        return self.root / "refused"

    @property
    def all(self) -> tuple[Path, ...]:
        """The root first."""
        return self.root, self.inbox, self.work, self.results, self.done, self.refused


class Span(NamedTuple):
    """Where something lies in a file, in bytes."""

    start: int
    size: int


@dataclass(slots=True, eq=False)
class WorkFile:
    """A file that was taken.

    Everything here blocks on the disk; one thread at a time may use it.
    """

    folders: Folders
    name: str
    digest: str
    lines: dict[int, Span]  # by number from 1; blank ones are left out
    results: dict[int, Span] = field(default_factory=dict)  # in the progress, by position from 0
    size: int = 0  # bytes of the progress that count

    @property
    def complete(self) -> bool:
        """Whether every line has its result."""
        return len(self.results) == len(self.lines)

    @property
    def _path(self) -> Path:
        return self.folders.work / self.name

    @property
    def _progress(self) -> Path:
        return companion(self._path, PROGRESS)

    def line_id(self, number: int) -> str:
        """Return under which id a line is made that names none: the same for the same file, whenever it is read."""
        return line_id(self.name, self.digest, number)

    def read(self, numbers: Iterable[int]) -> list[bytes]:
        """Return lines.

        Raises:
            OSError: They can't be read.
        """
        with self._path.open("rb") as file:
            return [_part(file, self.lines[number]) for number in numbers]

    def append(self, results: Mapping[int, bytes]) -> None:
        """Add results by position; durable when this returns. A position that has one keeps it.

        Raises:
            OSError: Nothing was added.
        """
        end, spans, fresh = self.size, {}, bytearray()
        for position, result in results.items():
            if position not in self.results:
                spans[position] = Span(end, len(result))
                fresh += result + b"\n"
                end += len(result) + 1
        if not fresh:
            return
        with self._progress.open("r+b", buffering=0) as file:
            file.truncate(self.size)  # of a write that failed in the middle
            file.seek(self.size)
            _write_all(file, fresh)
            os.fsync(file.fileno())
        self.size = end
        self.results |= spans

    def finish(self) -> None:
        """Put the input and its results where they belong; begun anew after a crash or a failure, it goes on.

        Raises:
            OSError: It could not be finished.
        """
        if self._path.exists():
            self._write_results()
            self._path.rename(free_path(self.folders.done / self.name))
            sync_directory(self.folders.done)
            sync_directory(self.folders.work)
        publish(self.folders, self.name)

    def _write_results(self) -> None:
        """Write all results in the order of their lines, durable and whole or not at all."""
        fresh = companion(self._path, FRESH)
        with create(fresh) as file, self._progress.open("rb") as progress:
            for position in sorted(self.results):
                file.write(_part(progress, self.results[position]) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(companion(self._path, RESULTS))
        sync_directory(self.folders.work)


def publish(folders: Folders, name: str) -> None:
    """Let results appear whose input is in `done`, and let go of the progress.

    Raises:
        OSError: It could not be done.
    """
    path = folders.work / name
    with contextlib.suppress(FileNotFoundError):
        companion(path, RESULTS).rename(free_path(folders.results / name))
        sync_directory(folders.results)
    companion(path, PROGRESS).unlink(missing_ok=True)
    sync_directory(folders.work)


def load(folders: Folders, name: str, *, max_bytes: int) -> WorkFile:
    """Return the file of a name in `work` with the progress that it has, which is begun where there is none.

    Raises:
        FileRefused: It can't be used.
        OSError: It can't be read, or its progress not be written.
    """
    content = _content(folders.work / name, max_bytes)
    file = WorkFile(folders, name, hashlib.sha256(content).hexdigest(), _lines(content))
    del content  # only where its lines lie is kept
    if not file.lines:
        raise FileRefused("it holds no request; allowed: one JSON object a line")
    _take_up(file)
    return file


def line_id(name: str, digest: str, number: int) -> str:
    """Return the id of a line that names none.

    Example:
        >>> line_id("a.jsonl", "00", 7)
        'inbox-2caf648443b3e0bc718b416ea3106aa8-7'
    """
    return f"inbox-{hashlib.sha256(f'{name} {digest}'.encode()).hexdigest()[:32]}-{number}"


def companion(path: Path, ending: str) -> Path:
    """Return the path of a file that goes with another."""
    return path.with_name(path.name + ending)


def free_path(path: Path) -> Path:
    """Return a path at which nothing lies: this one, or the same with a number before its ending."""
    found, number = path, 1
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return found


def create(path: Path) -> BinaryIO:
    """Return a new file of mode 0600, in place of what an interrupted write left.

    Raises:
        OSError: It can't be made.
    """
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _content(path: Path, max_bytes: int) -> bytes:
    try:
        descriptor = open_ours(path)
    except StorageRefused as refused:
        cause = refused.__cause__
        if isinstance(cause, OSError) and cause.errno not in _NEVER:
            raise cause from None
        linked = path.is_symlink()
        raise FileRefused("it is a symbolic link; allowed: a regular file" if linked else refused.text) from refused
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise FileRefused(f"it is larger than {max_bytes} bytes (inbox.max_file_bytes)")
    return content


def _lines(content: bytes) -> dict[int, Span]:
    """Return where the lines lie that are not blank, each of them text."""
    lines, start, number = {}, 0, 1
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        if _text(content[start:end], number):
            lines[number] = Span(start, end - start)
        if len(lines) > MOST_LINES:
            raise FileRefused(f"it has more than {MOST_LINES} requests; allowed: at most so many")
        start, number = end + 1, number + 1
    return lines


def _text(line: bytes, number: int) -> str:
    try:
        return line.decode().strip()
    except UnicodeDecodeError as error:
        raise FileRefused(f"line {number} is not UTF-8; allowed: JSON lines in UTF-8") from error


def _take_up(file: WorkFile) -> None:
    """Read the progress of earlier lives, up to the first line that was not written whole; begin it where there is none."""
    path = companion(file.folders.work / file.name, PROGRESS)
    if not path.exists():
        _begin(file, path)
        return
    with path.open("rb") as progress:
        head = progress.readline()
        pinned = _pinned(head)
        if pinned is None:  # nothing follows a first line that was not written whole
            _begin(file, path)
            return
        if pinned != file.digest:
            raise FileRefused("it was changed after it was taken; allowed: files that are put in place whole, by a rename")
        file.size = len(head)
        for line in progress:
            position = _position(line)
            if not 0 <= position < len(file.lines):
                return
            file.results[position] = Span(file.size, len(line) - 1)
            file.size += len(line)


def _begin(file: WorkFile, path: Path) -> None:
    head = json.dumps({"file": file.name, "sha256": file.digest, "lines": len(file.lines)}).encode() + b"\n"
    with create(path) as fresh:
        fresh.write(head)
        fresh.flush()
        os.fsync(fresh.fileno())
    sync_directory(path.parent)
    file.size = len(head)


def _pinned(head: bytes) -> str | None:
    try:
        return str(json.loads(head)["sha256"]) if head.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None


def _position(line: bytes) -> int:
    """Return which line a result is of; -1 for what is none, or was not written whole."""
    try:
        return int(json.loads(line)["index"]) if line.endswith(b"\n") else -1
    except (ValueError, KeyError, TypeError):
        return -1


def _part(file: BinaryIO, span: Span) -> bytes:
    file.seek(span.start)
    return file.read(span.size)


def _write_all(file: BinaryIO, data: bytes | bytearray) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
