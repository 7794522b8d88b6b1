"""The high-water mark."""

import stat

import pytest
from aigend.ledger.journal import Tail
from aigend.ledger.mark import mark_path, read_mark, write_mark


def test_mark_is_read_as_written(tmp_path):
    """What was written is read, also when it replaces an older mark."""
    path = mark_path(tmp_path / "ledger.db")
    write_mark(path, Tail(1, b"a" * 16))
    write_mark(path, Tail(7, b"b" * 16))
    assert read_mark(path) == Tail(7, b"b" * 16)
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.db.mark"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"seq": 1}', b'{"seq": "x", "checksum": ""}', b'{"seq": 1, "checksum": "zz"}']
)
def test_unreadable_mark_is_no_mark(tmp_path, content):
    """A mark that can't be read is treated as missing, which is said at the start."""
    (tmp_path / "mark").write_bytes(content)
    assert read_mark(tmp_path / "mark") is None
    assert read_mark(tmp_path / "missing") is None
