"""What adaptive marking has learned, kept across restarts in a small file.

It may be lost: without it the daemon is careful again for a while. So nothing waits for it, and a file that can't be used is left
behind with a warning.
"""

import asyncio
import json
import os
from pathlib import Path

import structlog

from aigend.clock import Clock
from aigend.scheduling.prompt_cache.adaptive import Adaptive
from aigend.scheduling.prompt_cache.adaptive_state import StateRefused, adaptive_from, state_of

FILE_NAME = "prompt-marks.json"
SAVE_EVERY_S = 300.0
MOST_BYTES = 64 * 1024 * 1024
_log = structlog.get_logger("aigend.prompts")


class LearnedMarks:
    """Reads what was learned at the start, and writes it every now and then and at the end.

    Args:
        path: Where it is kept.
        clock: Waits between two writings.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self.adaptive = self._read()

    async def keep(self) -> None:
        """Write now and then, until the daemon stops."""
        while True:
            await self._clock.sleep(SAVE_EVERY_S)
            await self.save()

    async def save(self) -> None:
        """Write what was learned, beside the loop; a disk that refuses is only logged."""
        try:
            await asyncio.to_thread(self._write)
        except OSError as error:
            _log.warning("prompt_marks_not_kept", path=str(self._path), text=error.strerror or str(error))

    def _read(self) -> Adaptive:
        try:
            with self._path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise StateRefused(f"it is larger than {MOST_BYTES} bytes")
            return adaptive_from(json.loads(data))
        except FileNotFoundError:
            return Adaptive()
        except OSError as error:
            reason = error.strerror or str(error)
        except StateRefused as error:
            reason = str(error)
        except (ValueError, RecursionError):
            reason = "it is no JSON"
        _log.warning("prompt_marks_unreadable", path=str(self._path), text=f"{reason}; what was learned about prefixes begins anew")
        return Adaptive()

    def _write(self) -> None:
        data = json.dumps(state_of(self.adaptive), separators=(",", ":")).encode()
        fresh = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            fresh.replace(self._path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
