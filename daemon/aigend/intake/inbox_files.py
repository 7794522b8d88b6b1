"""The folders of an inbox: what lies in them is taken, refused with a reason, or taken up again after a crash.

A producer writes a file under another name, or one that begins with a dot, and renames it to `inbox/NAME.jsonl`. Everything here
blocks on the disk; one thread at a time may use it.
"""

import contextlib
import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from aigend.intake.work_file import (
    FRESH,
    PROGRESS,
    RESULTS,
    FileRefused,
    Folders,
    WorkFile,
    companion,
    create,
    free_path,
    load,
    publish,
)
from aigend.storage.files import StorageRefused, private_directory, sync_directory

ENDING, REASON = ".jsonl", ".reason"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.jsonl\Z")
_log = structlog.get_logger("aigend.intake")


@dataclass(slots=True)
class InboxFiles:
    """The folders of one inbox.

    Args:
        folders: Where they are.
        max_file_bytes: Returns the size of the largest file that is taken.
    """

    folders: Folders
    max_file_bytes: Callable[[], int]
    _listed: deque[str] = field(default_factory=deque)
    _moved: set[str] = field(default_factory=set)  # names in work that could not be read yet
    _stuck: set[str] = field(default_factory=set)  # names that can't be moved, told once

    def open(self) -> list[WorkFile]:
        """Make the folders, bring to their end files that were ending, and return those that were in work.

        Raises:
            StorageRefused: A folder can't be used.
            OSError: The disk fails.
        """
        for folder in self.folders.all:
            if folder.is_symlink():
                raise StorageRefused(f"inbox.directory: {folder} is a symbolic link; allowed: a directory", path=folder)
            private_directory(folder, what="inbox.directory:")
        names = sorted(entry.name for entry in self.folders.work.iterdir())
        files = [file for name in names if name.endswith(ENDING) and (file := self._load(name)) is not None]
        for file in files:
            if file.complete:
                file.finish()
        for name in names:
            self._tidy(name)
        return [file for file in files if not file.complete]

    def take(self) -> WorkFile | None:
        """Return the next file of the inbox that can be used, moved to `work`; None where there is none.

        Raises:
            OSError: The disk fails.
        """
        if not self._listed:
            self._listed.extend([*self._moved, *self._arrived()])
        while self._listed:
            name = self._listed.popleft()
            try:
                file = self._take(name)
            except FileNotFoundError:  # its producer thought better of it
                continue
            except OSError as error:
                self._tell_stuck(name, error)
                continue
            if file is not None:
                _log.info("intake_taken", file=file.name, lines=len(file.lines), answered=len(file.results))
                return file
        return None

    def _arrived(self) -> list[str]:
        """Return the names of what is new in the inbox, oldest first; a name whose file is in work waits for its end."""
        with os.scandir(self.folders.inbox) as entries:
            found = [
                (entry.stat(follow_symlinks=False).st_mtime_ns, entry.name)
                for entry in entries
                if entry.name.endswith(ENDING) and not entry.name.startswith(".")
            ]
        return [name for _, name in sorted(found) if not os.path.lexists(self.folders.work / name)]

    def _take(self, name: str) -> WorkFile | None:
        if name not in self._moved and not self._move(name):
            return None
        self._moved.add(name)
        file = self._load(name)
        self._moved.discard(name)
        return file

    def _move(self, name: str) -> bool:
        """Move a file from the inbox to `work`; False where it was refused instead."""
        path = self.folders.inbox / name
        if _NAME.match(name) is None:
            self._refuse(path, "its name can't be used; allowed: 1 to 200 letters, digits, '.', '_' or '-', and .jsonl")
        elif exposed := self._exposed():
            self._refuse(path, exposed)
        elif os.path.lexists(self.folders.results / name):
            self._refuse(path, "results of this name have not been taken away; allowed: a name without results")
        else:
            path.rename(self.folders.work / name)
            sync_directory(self.folders.work)
            sync_directory(self.folders.inbox)
            return True
        return False

    def _load(self, name: str) -> WorkFile | None:
        try:
            return load(self.folders, name, max_bytes=self.max_file_bytes())
        except FileRefused as refused:
            self._refuse(self.folders.work / name, str(refused))
            return None

    def _refuse(self, path: Path, reason: str) -> None:
        """Move a file to `refused`, beside a file with the reason; what was answered of it goes with it."""
        plain = _NAME.match(path.name) is not None
        name = path.name if plain else f"unnamed-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}{ENDING}"
        target = free_path(self.folders.refused / name)
        with create(companion(target, REASON)) as file:
            file.write(json.dumps({"file": path.name[:200], "reason": reason}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        path.rename(target)
        with contextlib.suppress(FileNotFoundError):
            companion(path, PROGRESS).rename(companion(target, PROGRESS))
        sync_directory(self.folders.refused)
        sync_directory(path.parent)
        _log.warning("intake_refused", file=target.name, reason=reason)

    def _exposed(self) -> str:
        """Return why nothing that lies in the inbox can be trusted; empty where it can."""
        try:
            for folder in (self.folders.root, self.folders.inbox):
                private_directory(folder, what="directory")
        except StorageRefused as refused:
            return refused.text
        return ""

    def _tidy(self, name: str) -> None:
        """Finish what a crash left of a file that is no longer in work."""
        for ending in (FRESH, RESULTS, PROGRESS):
            base = name.removesuffix(ending)
            if base == name:
                continue
            if ending == FRESH:
                (self.folders.work / name).unlink(missing_ok=True)
            elif not os.path.lexists(self.folders.work / base):
                publish(self.folders, base)

    def _tell_stuck(self, name: str, error: OSError) -> None:
        if name not in self._stuck:
            self._stuck.add(name)
            shown = name if _NAME.match(name) else "(a name that can't be used)"
            _log.error("intake_stuck", file=shown, text=error.strerror or str(error))
