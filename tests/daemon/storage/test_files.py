"""Locks, private paths, socket paths and what lies where a database should be."""

import os
import socket
import sqlite3
import stat

import pytest
from aigend.storage import files
from aigend.storage.files import DatabaseCondition, StorageRefused, examine_database

MARK = 0x41474C31


def test_second_lock_is_refused_as_busy(tmp_path):
    """Two daemons never share a directory: the second gets exit code 75 and the holder's process id."""
    held = files.lock(tmp_path / "lock", what="the state directory")
    with pytest.raises(StorageRefused, match=f"in use by another aigend \\(process {os.getpid()}\\)") as caught:
        files.lock(tmp_path / "lock", what="the state directory")
    assert caught.value.exit_code == 75
    held.release()
    held.release()
    files.lock(tmp_path / "lock", what="the state directory").release()


def test_lock_file_is_private(tmp_path):
    """Nobody else can read or write it."""
    lock = files.lock(tmp_path / "lock", what="it")
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    lock.release()


def test_lock_in_a_missing_directory_is_refused(tmp_path):
    """The error names the file."""
    with pytest.raises(StorageRefused, match="missing/lock"):
        files.lock(tmp_path / "missing" / "lock", what="it")


def test_directory_is_made_private(tmp_path):
    """A new directory has mode 0700."""
    made = files.private_directory(tmp_path / "a" / "b", what="state directory")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_directory_open_to_others_is_refused_and_left_alone(tmp_path):
    """What is not safe is refused, never changed."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(StorageRefused, match=r"open to others \(mode 0777\)"):
        files.private_directory(tmp_path / "open", what="state directory")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o777


def test_directory_that_is_a_file_is_refused(tmp_path):
    """The error names the path."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageRefused, match="file"):
        files.private_directory(tmp_path / "file", what="state directory")


def test_foreign_directory_is_refused(tmp_path, monkeypatch):
    """A directory of another user is not used."""
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(StorageRefused, match="belongs to user"):
        files.private_directory(tmp_path, what="state directory")


def test_readonly_directory_is_refused(tmp_path, monkeypatch):
    """Where nothing can be written, the error says so before anything is opened."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StorageRefused, match="read-only"):
        files.private_directory(tmp_path, what="state directory")


def test_file_is_made_private_and_kept(tmp_path):
    """A new file has mode 0600; one that is there keeps its bytes."""
    path = files.private_file(tmp_path / "file")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("kept")
    assert files.private_file(path).read_text() == "kept"


def test_file_open_to_others_is_refused(tmp_path):
    """A file that others may write is not trusted."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0o666)
    with pytest.raises(StorageRefused, match="mode 0666"):
        files.private_file(tmp_path / "file")


def test_foreign_file_is_refused(tmp_path, monkeypatch):
    """A file of another user is not used."""
    files.private_file(tmp_path / "file")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(StorageRefused, match="belongs to user"):
        files.private_file(tmp_path / "file")


def test_link_and_pipe_are_refused(tmp_path):
    """Only regular files are opened, and no link is followed."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageRefused, match="can't be opened"):
        files.private_file(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageRefused, match="no regular file"):
        files.private_file(tmp_path / "pipe")


def test_socket_path_of_108_bytes_is_refused(tmp_path):
    """A path that the system would cut off is refused with its length; 107 bytes are allowed."""
    tail = 107 - len(os.fsencode(tmp_path)) - 1
    assert files.check_socket_path(tmp_path / ("s" * tail))
    with pytest.raises(StorageRefused, match="108 bytes; allowed: at most 107") as caught:
        files.check_socket_path(tmp_path / ("s" * (tail + 1)))
    assert caught.value.exit_code == 78


def test_socket_needs_a_private_directory_that_exists(tmp_path):
    """A missing directory and one open to others are refused."""
    with pytest.raises(StorageRefused, match="directory that exists"):
        files.check_socket_path(tmp_path / "missing" / "s")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(StorageRefused, match="open to others"):
        files.check_socket_path(tmp_path / "open" / "s")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageRefused, match="no directory"):
        files.check_socket_path(tmp_path / "file" / "s")


def test_old_socket_is_allowed_and_a_file_is_not(tmp_path):
    """A socket left by a killed daemon may be replaced, a file never."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "s"))
    left.close()
    assert files.check_socket_path(tmp_path / "s")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageRefused, match="something else lies there"):
        files.check_socket_path(tmp_path / "file")


def make(path, *, application_id=MARK, version=1):
    """Make a database with some rows."""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id={application_id}")
    connection.execute(f"PRAGMA user_version={version}")
    connection.execute("CREATE TABLE item (text TEXT)")
    connection.executemany("INSERT INTO item VALUES (?)", [("x" * 1_000,)] * 50)
    connection.commit()
    connection.close()
    return path


def examine(path):
    """Examine as the owner of MARK at version 1."""
    return examine_database(path, application_id=MARK, newest_version=1)


def test_condition_of_a_database(tmp_path):
    """Missing, empty, foreign, newer, damaged and ours are told apart without changing anything."""
    assert examine(tmp_path / "missing") is DatabaseCondition.MISSING
    (tmp_path / "empty").touch()
    assert examine(tmp_path / "empty") is DatabaseCondition.EMPTY
    (tmp_path / "text").write_text("not a database at all, " * 20)
    assert examine(tmp_path / "text") is DatabaseCondition.FOREIGN
    assert examine(make(tmp_path / "other", application_id=7)) is DatabaseCondition.FOREIGN
    assert examine(make(tmp_path / "newer", version=2)) is DatabaseCondition.NEWER
    assert examine(make(tmp_path / "ours")) is DatabaseCondition.OURS


@pytest.mark.parametrize("size", [50, 3_000, 20_000])
def test_truncated_database_is_damaged(tmp_path, size):
    """A file that was cut is never taken for a sound one."""
    path = make(tmp_path / "cut")
    os.truncate(path, size)
    assert examine(path) is DatabaseCondition.DAMAGED
