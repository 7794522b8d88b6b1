"""Where socket, ledger and cache lie."""

from pathlib import Path

import pytest
from aigend.config import Places, Settings, SettingsError
from aigend.config.places import places

USER = {"HOME": "/home/u"}


def found(user_id: int = 1000, settings: Settings | None = None, **environ: str) -> Places:
    """Return the places in an environment."""
    return places(settings or Settings(), environ, user_id=user_id)


def test_xdg_directories_are_the_default():
    """Without settings everything lies where the XDG specification says."""
    assert found(**USER, XDG_RUNTIME_DIR="/run/user/1000") == Places(
        socket=Path("/run/user/1000/aigen/aigend.sock"),
        state_directory=Path("/home/u/.local/state/aigen"),
        cache_directory=Path("/home/u/.cache/aigen"),
    )
    given = found(XDG_RUNTIME_DIR="/r", XDG_STATE_HOME="/s", XDG_CACHE_HOME="/c")
    assert (given.state_directory, given.cache_directory) == (Path("/s/aigen"), Path("/c/aigen"))


def test_directories_of_systemd_win_over_xdg():
    """A unit's RuntimeDirectory, StateDirectory and CacheDirectory are used as they are."""
    given = found(
        RUNTIME_DIRECTORY="/run/aigend:/run/other", STATE_DIRECTORY="/var/lib/aigend", CACHE_DIRECTORY="/var/cache/aigend"
    )
    assert given.socket == Path("/run/aigend/aigend.sock")
    assert (given.state_directory, given.cache_directory) == (Path("/var/lib/aigend"), Path("/var/cache/aigend"))


def test_settings_win_over_everything():
    """What the settings say is where it lies."""
    settings = Settings(socket="/a/s", state_directory="/a/b", cache_directory="/a/c")
    assert found(settings=settings, RUNTIME_DIRECTORY="/run/x") == Places(
        socket=Path("/a/s"), state_directory=Path("/a/b"), cache_directory=Path("/a/c")
    )


def test_without_a_runtime_directory_the_socket_lies_in_run_or_in_the_state_directory():
    """Root serves where clients look for a machine's daemon, a user beside the own ledger."""
    assert found(user_id=0, HOME="/root").socket == Path("/run/aigend/aigend.sock")
    assert found(**USER).socket == Path("/home/u/.local/state/aigen/aigend.sock")


def test_relative_directories_count_as_none():
    """The XDG specification demands that relative paths are ignored."""
    assert found(**USER, XDG_STATE_HOME="state", XDG_RUNTIME_DIR="run").state_directory == Path("/home/u/.local/state/aigen")


def test_nothing_known_is_a_clear_error():
    """Without a home there is no guess."""
    with pytest.raises(SettingsError, match="state_directory is not set") as caught:
        found()
    assert caught.value.key == "state_directory"
