"""The log: one safe line an event, and a loop that never waits for it."""

import io
import json
import logging
import os
import threading
from collections.abc import Iterator

import pytest
import structlog
from aigend.errors import DomainError, Reason
from aigend.telemetry.log import Log, QueueingHandler, start_log

KEY = "sk-planted0123456789abcdef"
PROMPT = "planted prompt: what is the meaning of life"


class Written(io.StringIO):
    """A stream that remembers, and that is a terminal when told so."""

    terminal = False

    def isatty(self) -> bool:
        """Return whether somebody looks."""
        return self.terminal


@pytest.fixture
def written() -> Written:
    """Return where the log goes."""
    return Written()


@pytest.fixture
def log(written: Written) -> Iterator[Log]:
    """Run a JSON log at level debug."""
    running = start_log("debug", "json", stream=written)
    yield running
    running.stop()


def lines(log: Log, written: Written) -> list[dict[str, object]]:
    """End the log and return what it wrote."""
    log.stop()
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_an_event_is_one_line_of_json(log, written):
    """Time, level, event, logger-independent facts: one object a line."""
    logging.getLogger("aigend.rpc").warning("call_refused", extra={"reason": "OVERLOADED", "queued_count": 7})
    structlog.get_logger("aigend.server").info("ready", socket="/run/x", epoch=3)
    first, second = lines(log, written)
    assert list(first) == ["time", "level", "event", "reason", "queued_count"]
    assert first | {"time": ""} == {
        "time": "",
        "level": "warning",
        "event": "call_refused",
        "reason": "OVERLOADED",
        "queued_count": 7,
    }
    assert first["time"].endswith("+00:00")
    assert (second["event"], second["level"], second["socket"], second["epoch"]) == ("ready", "info", "/run/x", 3)


def test_text_is_one_line_too(written):
    """On a terminal a line is for people, and a line break in a value can't forge another one."""
    written.terminal = True
    log = start_log("info", "auto", stream=written)
    structlog.get_logger("aigend.x").info("ready", path="a\nb")
    logging.getLogger("aigend.x").error("two\nlines")
    log.stop()
    first, second = written.getvalue().splitlines()
    assert first.endswith(' info    ready path="a\\nb"')
    assert second.endswith(" error   two lines")


def test_auto_is_json_where_nobody_looks(written):
    """A pipe gets JSON."""
    log = start_log("info", "auto", stream=written)
    logging.getLogger("aigend.x").info("ready")
    assert lines(log, written)[0]["event"] == "ready"


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_kept(written, level, count):
    """Lines below the level are not written, ours or a library's."""
    log = start_log(level, "json", stream=written)
    own = logging.getLogger("aigend.x")
    own.debug("a"), own.info("b"), own.warning("c"), own.error("d")
    logging.getLogger("somelib").info("never")
    assert len(lines(log, written)) == count


@pytest.mark.parametrize(
    "facts",
    [
        {"api_key": KEY},
        {"authorization": f"Bearer {KEY}"},
        {"prompt": PROMPT},
        {"messages": [PROMPT]},
        {"system": PROMPT},
        {"content": {"deep": PROMPT}},
        {"arguments_json": PROMPT},
        {"detail": f"the key {KEY} was refused"},
        {"detail": f"Authorization: Bearer {KEY}"},
        {"detail": {"headers": {"x": KEY}}},
        {"detail": [[[[PROMPT]]]]},
        {"detail": PROMPT * 10},
        {"detail": PROMPT.encode()},
        {"text": PROMPT * 100},
        {"address": f"https://user:{KEY}@example.com/"},
        {"detail": ValueError(PROMPT)},
        {"detail": io.StringIO(PROMPT)},
    ],
)
def test_no_planted_secret_is_in_a_line(log, written, facts):
    """Whatever a room logs, keys, prompts and long texts do not reach the log."""
    logging.getLogger("aigend.x").error("event", extra=facts)
    structlog.get_logger("aigend.x").error("event", **facts)
    text = json.dumps(lines(log, written))
    assert "planted" not in text
    assert len(text) < 1_000


def test_without_the_sieve_the_secret_would_be_there(written, monkeypatch):
    """Control: the planted key is found where the sieve is taken out."""
    from aigend.telemetry import log as module

    monkeypatch.setattr(module, "safe_event", dict)
    log = start_log("info", "json", stream=written)
    logging.getLogger("aigend.x").error("event", extra={"api_key": KEY})
    assert KEY in json.dumps(lines(log, written))


def test_plain_facts_stay(log, written):
    """Names, numbers, paths and short texts are what a log is for."""
    facts = {"model": "gpt-4o", "input_tokens": 12, "ratio": 0.5, "ok": True, "none": None, "names": ["a", "b"], "prompt": 3}
    logging.getLogger("aigend.x").info("event", extra=facts)
    line = lines(log, written)[0]
    assert {name: line[name] for name in facts} == facts


def fail() -> None:
    """Raise with a prompt in the message, out of a cause that has one too."""
    try:
        raise KeyError(PROMPT)
    except KeyError as error:
        raise ValueError(PROMPT) from error


def test_an_exception_is_told_without_its_message(log, written):
    """Type, place and cause are told; a message may hold what a caller sent."""
    try:
        fail()
    except ValueError as error:
        logging.getLogger("aigend.rpc").error("daemon_fault", exc_info=error, extra={"fault_id": "ab"})
        structlog.get_logger("aigend.rpc").exception("daemon_fault")
    for line in lines(log, written):
        assert line["exception"].startswith("ValueError at telemetry/test_log.py:")
        assert " fail < " in line["exception"]
        assert "; from KeyError at telemetry/test_log.py:" in line["exception"]
        assert "planted" not in json.dumps(line)


def test_messages_of_the_system_and_reasons_of_ours_are_told(log, written):
    """An operator needs to know that a disk is full; a refusal is named by its reason."""
    own = logging.getLogger("aigend.x")
    own.error("a", exc_info=OSError(28, "No space left on device", "/var/x"))
    own.error("b", exc_info=DomainError(Reason.STORAGE_FULL, PROMPT))
    first, second = lines(log, written)
    assert first["exception"] == "OSError (No space left on device: /var/x)"
    assert second["exception"] == "DomainError (STORAGE_FULL)"


def test_a_library_is_heard_without_the_texts_it_puts_in(log, written):
    """Other people's loggers say what happened, not with which values."""
    library = logging.getLogger("somelib.part")
    library.warning("retry %d of %s after %s", 3, PROMPT, ValueError(PROMPT))
    library.error("Task exception was never retrieved\nfuture: <Task %s>" % PROMPT)  # noqa: UP031 - as asyncio does
    wrong = library.makeRecord(library.name, logging.ERROR, "", 0, "wrong %d", ("x",), None)
    next(handler for handler in logging.getLogger().handlers if isinstance(handler, QueueingHandler)).handle(wrong)
    library.error("with %(name)s", {"name": PROMPT})
    told = [line["event"] for line in lines(log, written)]
    assert told == ["retry 3 of <str> after <ValueError>", "Task exception was never retrieved", "wrong %d", "with %(name)s"]


def test_a_library_that_repeats_itself_is_heard_once_a_minute(log, written):
    """An endpoint that is down does not fill the disk; our own lines are never left out."""
    for name in ("somelib", "aigend.x"):
        for _ in range(5):
            logging.getLogger(name).warning("again")
    record = logging.getLogger("somelib").makeRecord("somelib", logging.WARNING, "", 0, "again", (), None)
    record.created += 61
    logging.getLogger("somelib").handle(record)
    for number in range(300):
        logging.getLogger("somelib").warning(f"message {number}")
    assert len(lines(log, written)) == 1 + 5 + 1 + 300


def test_python_warnings_go_to_the_log(log, written):
    """A deprecation in a library becomes a line, not a loose text on standard error."""
    logging.getLogger("py.warnings").warning("%s", "DeprecationWarning: x")
    assert lines(log, written)[0]["event"] == "<str>"


def test_a_line_that_cannot_be_formed_does_not_end_the_log(log, written):
    """A value that breaks in its own hands costs one line."""

    class Broken(dict):
        def items(self):
            raise TypeError(PROMPT)

    own = logging.getLogger("aigend.x")
    own.info("a", extra={"facts": Broken()})
    own.info("b")
    told = lines(log, written)
    assert [line["event"] for line in told] == ["log_line_unreadable", "b"]
    assert "planted" not in json.dumps(told)


def test_a_stalled_standard_error_never_holds_up_a_caller():
    """Lines wait up to a bound, then are counted; once it moves again the number is told."""
    may_write, told = threading.Event(), []

    def write(line: str) -> None:
        may_write.wait(10)
        told.append(line)

    handler = QueueingHandler(write, capacity=3)
    logger = logging.getLogger("aigend.stalled")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        for number in range(20):
            logger.error("line %d", number)
        assert handler.dropped >= 16
        may_write.set()
        handler.stop(5)
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    assert "line 0\n" in told
    assert "log_lines_dropped\n" in told


def test_stopping_does_not_wait_for_a_stalled_standard_error():
    """A stop gives up what can't be written."""
    may_write = threading.Event()
    told: list[str] = []

    def write(line: str) -> None:
        may_write.wait(10)
        told.append(line)

    handler = QueueingHandler(write, capacity=1)
    for number in range(3):
        handler.emit(logging.makeLogRecord({"msg": str(number)}))
    handler.stop(0.01)
    assert told == []
    may_write.set()


def test_a_closed_standard_error_is_counted(tmp_path):
    """A log that nobody takes does not end the daemon."""
    with (tmp_path / "log").open("w") as stream:
        log = start_log("info", "json", stream=stream)
    logging.getLogger("aigend.x").info("a")
    log.stop()
    assert log.dropped >= 1


def test_lines_reach_a_file(tmp_path):
    """Lines are written past Python's buffers, so a killed process leaves what it said."""
    path = tmp_path / "log"
    with path.open("w") as stream:
        log = start_log("info", "json", stream=stream)
        logging.getLogger("aigend.x").info("über", extra={"n": 1})
        log.stop()
        assert json.loads(path.read_text(encoding="utf-8"))["event"] == "über"
        assert os.fstat(stream.fileno()).st_size > 0


def test_stopping_puts_the_loggers_back(written):
    """What a program had set up before is there again."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    start_log("error", "json", stream=written).stop()
    assert (root.handlers, root.level) == before
