"""The shim that notes what a process writes, as Python sees it: how it is built and told to fail, and what its notes say.

From the notes the files can be made up as a power cut at any moment would leave them: what was synced is there, of what was not any
part may be, in any order, torn at a sector.
"""

import os
import random
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("disk_shim.c")
SECTOR = 512
DIRECTORY = ""  # name under which the watched directory itself is noted
_HEAD = struct.Struct("<cIQQ")
_WITH_DATA = frozenset({b"W", b"R"})


@dataclass(frozen=True, slots=True)
class Note:
    """One call that was done; kinds as the shim writes them, small letters for those that were made to fail."""

    kind: bytes  # W write, T truncate, E extend, S sync, R rename; w, s: failed
    name: str  # within the watched directory
    offset: int
    size: int
    data: bytes


def compiler() -> str | None:
    """Return the C compiler; None where there is none."""
    return shutil.which("cc") or shutil.which("gcc")


def build(target: Path) -> Path:
    """Compile the shim and return it."""
    command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-o", str(target), str(SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return target


def environment(shim: Path, *, watched: Path, log: Path) -> dict[str, str]:
    """Return what a process needs in its environment to be watched."""
    return {"LD_PRELOAD": str(shim), "DISK_SHIM_DIRECTORY": os.path.realpath(watched), "DISK_SHIM_LOG": str(log)}


def fail_next(log: Path, what: str) -> None:
    """Let the next `write` or `sync` of the ledger's files fail, once, and those after it go well."""
    log.with_name(f"{log.name}.{what}").touch()


def read_notes(log: Path) -> list[Note]:
    """Return what was noted, in order; a note that was cut short is none."""
    raw, at, notes = log.read_bytes(), 0, []
    while at + _HEAD.size <= len(raw):
        kind, length, offset, size = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        name, at = raw[at : at + length].decode(), at + length
        data = raw[at : at + size] if kind in _WITH_DATA else b""
        at += len(data)
        notes.append(Note(kind, name, offset, size, data))
    return notes


@dataclass(slots=True)
class _File:
    """A file during a walk through the notes."""

    content: bytearray = field(default_factory=bytearray)
    changes: list[Note] = field(default_factory=list)  # not synced
    is_durable: bool = False  # whether its name would be found again

    def sync(self) -> None:
        for change in self.changes:
            _apply(self.content, change)
        self.changes.clear()


class PowerCut:
    """What is left of a directory when the power goes after a number of notes.

    Args:
        before: The files as they lay on the disk at the beginning.
        dice: Chooses what of the un-synced changes is left.
    """

    def __init__(self, before: Mapping[str, bytes], *, dice: random.Random) -> None:
        self._files = {name: _File(bytearray(content), is_durable=True) for name, content in before.items()}
        self._dice = dice
        self.dropped = 0

    def after(self, notes: Sequence[Note]) -> dict[str, bytes]:
        """Return the files that are left."""
        renames = [place for place, note in enumerate(notes) if note.kind == b"R"]
        lost_renames = set(renames[len(renames) - self._dice.randrange(3) :] if renames else [])
        for place, note in enumerate(notes):
            self._note(note, is_lost=place in lost_renames)
        left = {name: self._left(file) for name, file in self._files.items() if file.is_durable or self._dice.random() < 0.5}
        return {name: bytes(content) for name, content in left.items()}

    def _note(self, note: Note, *, is_lost: bool) -> None:
        if note.kind == b"S" and note.name == DIRECTORY:
            for file in self._files.values():
                file.is_durable = True
        elif note.kind == b"S":
            self._files.setdefault(note.name, _File()).sync()
        elif note.kind == b"R" and not is_lost:
            self._files[note.data.decode()] = self._files.pop(note.name)
            self._files[note.data.decode()].is_durable = True  # a name that was given another file is never without one
        elif note.kind in (b"W", b"T", b"E"):
            self._files.setdefault(note.name, _File()).changes.append(note)

    def _left(self, file: _File) -> bytearray:
        """Keep none, all, or any of the changes that were not synced."""
        share = self._dice.choice((0.0, 0.5, 0.9, 1.0))
        for change in file.changes:
            if self._dice.random() < share:
                _apply(file.content, change, sectors=self._sectors(change) if share < 1 else None)
            else:
                self.dropped += 1
        return file.content

    def _sectors(self, change: Note) -> set[int] | None:
        """Return which sectors of a write made it; None: all."""
        if change.kind != b"W" or self._dice.random() < 0.7:
            return None
        return {sector for sector in range(change.size // SECTOR + 1) if self._dice.random() < 0.5}


def _apply(content: bytearray, change: Note, *, sectors: set[int] | None = None) -> None:
    if change.kind == b"T":
        _lengthen(content, change.size)
        del content[change.size :]
        return
    _lengthen(content, change.offset + change.size)
    if change.kind != b"W":
        return
    for sector in range(0, change.size, SECTOR):
        if sectors is None or sector // SECTOR in sectors:
            part = change.data[sector : sector + SECTOR]
            content[change.offset + sector : change.offset + sector + len(part)] = part


def _lengthen(content: bytearray, size: int) -> None:
    if len(content) < size:
        content.extend(bytes(size - len(content)))
