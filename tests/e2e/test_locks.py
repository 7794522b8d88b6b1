"""Who may serve where: one daemon a socket and a state directory, and only on paths and files that can be trusted."""

import resource
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend

pytestmark = pytest.mark.not_on_floor
MODEL = "gpt-4o-mini"


def _second(make_daemon: MakeDaemon, first: Aigend, **settings: str) -> tuple[int, float, str]:
    second = make_daemon(settings, name="b")
    began = time.monotonic()
    code = second.start(ready=False).wait()
    return code, time.monotonic() - began, second.log()


@pytest.mark.parametrize("shared", ["socket", "state_directory", "cache_directory"])
def test_second_daemon_is_refused_and_the_first_untouched(make_daemon: MakeDaemon, daemon: Aigend, shared: str):
    """On a socket, state or cache directory in use a daemon exits with 75 within a second and names it; the first serves on."""
    path = {"socket": daemon.socket, "state_directory": daemon.state, "cache_directory": daemon.cache}[shared]
    client = daemon.client()
    before = client.status().process_id
    code, seconds, log = _second(make_daemon, daemon, **{shared: str(path)})
    assert (code, seconds < 1) == (75, True)
    assert str(path) in log
    assert str(daemon.pid) in log
    assert client.status().process_id == before == daemon.pid
    assert client.complete("still there", model=MODEL).text
    assert daemon.client().complete("and for others", model=MODEL).text


def _worked_s() -> float:
    """Return the processor time of processes that have ended: it does not hang on what else this machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_second_daemon_in_a_fresh_interpreter_is_refused_with_two_seconds_of_work(make_daemon: MakeDaemon, daemon: Aigend):
    """Imports included, it takes the command `aigend serve` at most two seconds of a processor to see that it is the second."""
    second = make_daemon({"socket": str(daemon.socket)}, name="b")
    before = _worked_s()
    assert second.start(ready=False, fresh=True).wait() == 75
    assert 0 < _worked_s() - before < 2
    assert daemon.client().status().process_id == daemon.pid


def test_stale_socket_is_replaced(daemon: Aigend):
    """What a killed daemon left on the socket's path does not hold up the next one."""
    daemon.kill()
    assert daemon.socket.is_socket()
    daemon.start()
    assert daemon.client().status().process_id == daemon.pid


def test_socket_is_the_owners_and_gone_afterwards(daemon: Aigend):
    """The socket has mode 0600 while it is served, and an orderly end removes it."""
    assert daemon.socket.stat().st_mode & 0o777 == 0o600
    assert daemon.stop() == 0
    assert not daemon.socket.exists()


def test_socket_path_that_is_too_long_is_refused(make_daemon: MakeDaemon):
    """The refusal says how long the path is and how long it may be."""
    daemon = make_daemon({"socket": f"/run/{'x' * 120}"})
    assert daemon.start(ready=False).wait() == 78
    assert "a path of 125 bytes; allowed: at most 107" in daemon.log()


def test_socket_in_a_missing_directory_is_refused(make_daemon: MakeDaemon, tmp_path: Path):
    """A directory that the settings name for the socket must exist."""
    daemon = make_daemon({"socket": str(tmp_path / "none" / "s")})
    assert daemon.start(ready=False).wait() == 78
    assert f"{tmp_path}/none/s" in daemon.log()
    assert "allowed: a directory that exists" in daemon.log()


@pytest.mark.parametrize("place", ["socket", "state_directory", "cache_directory"])
def test_directory_open_to_others_is_refused(make_daemon: MakeDaemon, tmp_path: Path, place: str):
    """Where others could put files, nothing is served, and nobody's mode is changed."""
    opened = tmp_path / "open"
    opened.mkdir()
    opened.chmod(0o777)
    daemon = make_daemon({place: str(opened / "s" if place == "socket" else opened)})
    assert daemon.start(ready=False).wait() == 78
    assert f"{opened} is open to others (mode 0777)" in daemon.log()
    assert opened.stat().st_mode & 0o777 == 0o777


def test_file_in_place_of_the_socket_is_left_alone(make_daemon: MakeDaemon):
    """Only a socket is replaced."""
    daemon = make_daemon()
    daemon.socket.write_text("mine")
    assert daemon.start(ready=False).wait() == 78
    assert "something else lies there" in daemon.log()
    assert daemon.socket.read_text() == "mine"


def _foreign(path: Path) -> None:
    path.write_text("this is no database, but somebody may need it" * 10)


def _other_program(path: Path) -> None:
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()


def _newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9999")
    connection.close()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3 + 17])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


SPOILT = [_foreign, _other_program, _newer, _truncated, _empty]


@pytest.fixture
def used(daemon: Aigend) -> Aigend:
    """A daemon that has written something and was ended."""
    daemon.client().complete("to have something", model=MODEL)
    assert daemon.stop() == 0
    return daemon


@pytest.mark.parametrize("spoil", SPOILT)
def test_ledger_that_can_not_be_trusted_is_refused(used: Aigend, spoil):
    """A foreign, newer, truncated or empty ledger ends the start with 78 and its name, and is left as it is."""
    spoil(used.ledger)
    before = used.ledger.read_bytes()
    assert used.start(ready=False).wait() == 78
    assert f"ledger {used.ledger} " in used.log()
    assert used.ledger.read_bytes() == before
    assert not used.socket.exists()


@pytest.mark.parametrize("spoil", SPOILT)
def test_cache_that_can_not_be_read_is_set_aside(used: Aigend, spoil):
    """The same of a cache costs its entries: it is renamed, a fresh one is made, and the daemon serves within two seconds."""
    cache = used.cache / "cache.db"
    spoil(cache)
    before = cache.read_bytes()
    began = time.monotonic()
    used.start()
    assert time.monotonic() - began < 2
    client = used.client()
    assert client.complete("to have something", model=MODEL).cache_outcome == "miss"
    assert client.complete("to have something", model=MODEL).cache_outcome == "hit"
    if before:
        assert any(file.read_bytes() == before for file in used.cache.iterdir() if file.is_file() and file != cache)


def test_answers_outlive_the_daemon(used: Aigend):
    """A start finds what the one before has cached and counted."""
    client = used.start().client()
    assert client.complete("to have something", model=MODEL).cache_outcome == "hit"
    assert client.stats(period="all").totals.miss_count == 1


def test_missing_ledger_beside_its_log_is_refused(used: Aigend):
    """A ledger that was removed while its write-ahead log was left is not replaced by an empty one."""
    shutil.move(used.ledger, used.ledger.with_name("ledger.db-wal"))
    assert used.start(ready=False).wait() == 78
    assert "its write-ahead log is there" in used.log()
