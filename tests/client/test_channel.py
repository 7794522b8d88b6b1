"""The socket: where it is looked for, what is said where it is not usable."""

import socket
from pathlib import Path

import aigen
import pytest
from aigen import _channel
from aigen.testing import FakeDaemon


def test_places_are_tried_in_order():
    """The argument counts alone, then AIGEN_SOCKET alone, then the user's daemon before the system's."""
    environment = {"AIGEN_SOCKET": "/e.sock", "XDG_RUNTIME_DIR": "/run/user/1"}
    assert _channel.socket_paths("/a.sock", environment) == ("/a.sock",)
    assert _channel.socket_paths(Path("/a.sock"), environment) == ("/a.sock",)
    assert _channel.socket_paths(None, environment) == ("/e.sock",)
    del environment["AIGEN_SOCKET"]
    assert _channel.socket_paths(None, environment) == ("/run/user/1/aigen/aigend.sock", "/run/aigend/aigend.sock")
    assert _channel.socket_paths(None, {"HOME": "/home/a"})[-1] == "/home/a/.local/state/aigen/aigend.sock"
    assert _channel.socket_paths(None, {"XDG_STATE_HOME": "/state", "HOME": "/home/a"})[-1] == "/state/aigen/aigend.sock"
    assert _channel.socket_paths(None, {"XDG_STATE_HOME": "not absolute"}) == ("/run/aigend/aigend.sock",)
    assert _channel.socket_paths(None, {}) == ("/run/aigend/aigend.sock",)


def test_grpc_spelling_of_a_path_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A path may be given as gRPC writes it, and a relative one is taken from where the program stands."""
    monkeypatch.chdir(tmp_path)
    assert _channel.socket_paths("unix:/a.sock", {}) == _channel.socket_paths("unix:///a.sock", {}) == ("/a.sock",)
    assert _channel.socket_paths("a.sock", {}) == (str(tmp_path / "a.sock"),)


@pytest.mark.parametrize(("name", "given"), [("socket", ""), ("socket", "a\0b"), ("socket", "/" + "x" * 107)])
def test_path_that_cannot_be_a_socket_is_refused(name: str, given: str):
    """A path that no socket can have is refused by name."""
    with pytest.raises(aigen.InvalidRequest) as caught:
        aigen.Client(given)
    assert caught.value.field == name


def test_path_from_the_environment_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch):
    """A path that is too long names the variable that it came from."""
    monkeypatch.setenv("AIGEN_SOCKET", "/" + "x" * 200)
    with pytest.raises(aigen.InvalidRequest, match="AIGEN_SOCKET is 201 bytes long"):
        aigen.Client()


@pytest.mark.parametrize("name", ["a b.sock", "100%.sock", "ä?#.sock"])
def test_any_path_works(tmp_path: Path, name: str):
    """Spaces, percent signs and other letters in the path reach the same socket."""
    with FakeDaemon(tmp_path / name) as daemon, aigen.Client(daemon.socket, connect_timeout=1) as client:
        assert client.complete("hi", timeout=5).text == "echo: hi"


def test_the_users_daemon_is_found_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A place where nobody listens is passed over for the next."""
    (tmp_path / "aigen").mkdir()
    monkeypatch.delenv("AIGEN_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(_channel, "SYSTEM_SOCKET", str(tmp_path / "system.sock"))
    with FakeDaemon(tmp_path / "system.sock") as system:
        with aigen.Client(connect_timeout=1) as client:
            client.complete("to the system's")
        with FakeDaemon(tmp_path / "aigen" / "aigend.sock") as own, aigen.Client(connect_timeout=1) as client:
            client.complete("to the user's")
    assert [call.request.prompt for call in (*system.calls, *own.calls)] == ["to the system's", "to the user's"]


def test_reasons_for_an_unusable_socket(tmp_path: Path):
    """A missing file, a left-over socket, a plain file and a full queue are told apart."""
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(str(tmp_path / "old.sock"))
    left_over.close()
    (tmp_path / "file").touch()
    assert _channel.why_unreachable(str(tmp_path / "none.sock")) == "no such file"
    assert _channel.why_unreachable(str(tmp_path / "old.sock")) == "nobody listens there any more"
    assert _channel.why_unreachable(str(tmp_path / "file")) == "nobody listens there any more"
    assert _channel.why_unreachable(str(tmp_path / "file" / "x.sock")) == "not a directory"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(tmp_path / "busy.sock"))
        busy.listen(0)
        first.connect(str(tmp_path / "busy.sock"))
        assert _channel.why_unreachable(str(tmp_path / "busy.sock")) is None
