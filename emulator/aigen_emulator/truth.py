"""The truth log: what a real provider would have billed, one JSON line a charged call, on disk before the answer leaves.

Lines that arrive while the disk is busy share the next flush, so that a log costs little under load.
"""

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One billed call."""

    request_id: str  # what the client sent as x-client-request-id
    attempt: int | None  # what it sent as x-aigen-attempt
    provider: str
    model: str
    input_tokens: int  # cached and written ones included
    cached_tokens: int  # read from the prompt cache
    output_tokens: int
    status: int
    cache_write_5m_tokens: int = 0  # written to the prompt cache for 5 minutes, inside the input's
    cache_write_1h_tokens: int = 0  # likewise for an hour
    processing: str = "standard"  # at which of the provider's prices: standard, flex or batch
    job: str = ""  # the batch job that it was a line of
    custom_id: str = ""  # the line's name there


class TruthLog:
    """Appends charges to a file; without a path it only counts them.

    Args:
        path: The file; it is created, and appended to where it exists.
    """

    def __init__(self, path: Path | None) -> None:
        self.count = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if path else None
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._flush: asyncio.Task[None] | None = None

    async def charge(self, charge: Charge) -> None:
        """Return once the charge is on disk."""
        self.count += 1
        if self._descriptor is None:
            return
        line = json.dumps({"n": self.count} | asdict(charge)).encode() + b"\n"
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((line, written))
        if self._flush is None:
            self._flush = asyncio.create_task(self._write_all())
        await asyncio.shield(written)

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                error = await asyncio.to_thread(self._append, b"".join(line for line, _ in group))
                for _, written in group:
                    if error is None:
                        written.set_result(None)
                    else:
                        written.set_exception(error)
        finally:
            self._flush = None

    def _append(self, data: bytes) -> OSError | None:
        """Write to the disk; the return value is what went wrong."""
        descriptor = -1 if self._descriptor is None else self._descriptor
        try:
            os.write(descriptor, data)
            os.fdatasync(descriptor)
        except OSError as error:
            return error
        return None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
