"""The log: one line an event on standard error, JSON or text, written by a thread of its own.

Every room logs through `logging.getLogger("aigend.<room>")`, the event's name as message and facts as `extra`. A stalled
standard error never holds up the event loop: lines wait in a bounded queue, and above its bound they are counted and dropped.
"""

import contextlib
import copy
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from aigend.telemetry.redaction import describe_exception, safe_event, safe_value

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "text"]
OWN = "aigend"
QUEUE_LINES = 10_000
STOP_TIMEOUT_S = 1.0
REPEAT_AFTER_S = 60.0
REMEMBERED_REPEATS = 256


class Log:
    """The running log.

    Args:
        handler: What takes records from every logger.
        restore: Puts the loggers back as they were.
    """

    def __init__(self, handler: "QueueingHandler", restore: Callable[[], None]) -> None:
        self._handler = handler
        self._restore = restore

    @property
    def dropped(self) -> int:
        """Lines that were dropped because standard error was stalled."""
        return self._handler.dropped

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Write what waits and end, after the timeout at the latest."""
        self._restore()
        self._handler.stop(timeout_s)


def start_log(level: Level, form: Format, *, stream: TextIO | None = None) -> Log:
    """Return the log, which takes the records of every logger from now on.

    Args:
        level: Least important line of our own that is written; libraries are heard from `warning` on.
        form: Form of a line; `auto` is text on a terminal and JSON elsewhere.
        stream: Where to; None is standard error.
    """
    stream = stream or sys.stderr
    if form == "auto":
        form = "text" if stream.isatty() else "json"
    handler = QueueingHandler(_writer(stream))
    handler.setFormatter(_LineFormatter(form))
    handler.addFilter(_RepeatFilter())
    root, own = logging.getLogger(), logging.getLogger(OWN)
    before = root.level, own.level, root.handlers[:]
    own_level = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(own_level, logging.WARNING))
    own.setLevel(own_level)
    root.handlers[:] = [handler]
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.processors.ExceptionRenderer(_rendered), _WRAP],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    def restore() -> None:
        root.setLevel(before[0])
        own.setLevel(before[1])
        root.handlers[:] = before[2]
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()

    return Log(handler, restore)


class QueueingHandler(logging.Handler):
    """Hands records to a thread that writes them.

    Args:
        write: Writes one line; it may block.
        capacity: Lines that may wait.
    """

    def __init__(self, write: Callable[[str], None], *, capacity: int = QUEUE_LINES) -> None:
        super().__init__()
        self.dropped = 0
        self._write = write
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._run, name="aigend-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, or count it as dropped."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def stop(self, timeout_s: float) -> None:
        """Write what waits and end, after the timeout at the latest."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        told = 0
        while (record := self._queue.get()) is not None:
            self._put(record)
            if self.dropped > told:
                told = self.dropped
                self._put(
                    logging.makeLogRecord(
                        {
                            "name": f"{OWN}.log",
                            "levelno": logging.WARNING,
                            "levelname": "WARNING",
                            "msg": "log_lines_dropped",
                            "dropped_count": told,
                        }
                    )
                )

    def _put(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a line that can't be formed must not end the log
            line = json.dumps({"level": "error", "event": "log_line_unreadable", "exception": type(error).__name__})
        try:
            self._write(line + "\n")
        except (OSError, ValueError):  # standard error is closed
            self.dropped += 1


class _LineFormatter(structlog.stdlib.ProcessorFormatter):
    """Makes one safe line of a record, whoever logged it."""

    def __init__(self, form: Format) -> None:
        super().__init__(
            processors=[_sieve, _as_json if form == "json" else _as_text],
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.stdlib.add_log_level],
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        safe = copy.copy(record)
        if not isinstance(record.msg, dict):
            safe.msg, safe.args = _message(record), ()
        if record.exc_info:
            safe.exception = _rendered(record.exc_info)
        safe.exc_info = safe.exc_text = safe.stack_info = None
        for made in ("message", "asctime"):  # another handler may have formatted the same record
            safe.__dict__.pop(made, None)
        return super().format(safe)


_WRAP = structlog.stdlib.ProcessorFormatter.wrap_for_formatter


def _rendered(exc_info: Any) -> str:
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return describe_exception(error) if isinstance(error, BaseException) else ""


def _message(record: logging.LogRecord) -> str:
    """What a record says: our own words as they are, a library's as its template with every text left out."""
    if record.name.partition(".")[0] == OWN:
        return str(safe_value(record.getMessage()))
    first_line = str(record.msg).partition("\n")[0]
    args = record.args if isinstance(record.args, tuple) else ()
    try:
        said = (
            first_line % tuple(arg if isinstance(arg, int | float) else f"<{type(arg).__name__}>" for arg in args)
            if args
            else first_line
        )
    except (TypeError, ValueError):
        said = first_line
    return str(safe_value(said))


def _sieve(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Every value through the sieves; time, level, logger and event's name stand first."""
    record, said = event.pop("_record", None), event.pop("event", "")
    event.pop("_from_structlog", None)
    created = record.created if record is not None else 0.0
    head = {"time": datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds"), "level": event.pop("level", "info")}
    exception = event.pop("exception", None)
    tail = {"exception": exception} if exception else {}
    return head | {"event": safe_value(said)} | safe_event(event) | tail


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return json.dumps(event, ensure_ascii=False, default=lambda value: f"<{type(value).__name__}>")


def _as_text(_: WrappedLogger, __: str, event: EventDict) -> str:
    facts = " ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in event.items() if name not in ("time", "level", "event")
    )
    said = " ".join(str(event["event"]).split())
    return f"{event['time']} {event['level']:<7} {said}" + (f" {facts}" if facts else "")


class _RepeatFilter(logging.Filter):
    """Lets a library's line through once a minute: an endpoint that is down must not fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        if record.name.partition(".")[0] == OWN:
            return True
        key = record.name, str(record.msg)
        last = self._last.get(key)
        if last is not None and 0 <= record.created - last < REPEAT_AFTER_S:
            return False
        if len(self._last) >= REMEMBERED_REPEATS:
            self._last.clear()
        self._last[key] = record.created
        return True


def _writer(stream: TextIO) -> Callable[[str], None]:
    """Write past Python's buffer, whose lock a stalled write would hold when the interpreter ends."""
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):
        return lambda line: print(line, end="", file=stream, flush=True)

    def write(line: str) -> None:
        rest = line.encode("utf-8", "backslashreplace")
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return write
