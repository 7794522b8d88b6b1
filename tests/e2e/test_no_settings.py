"""With a key in the environment and nothing else, `aigend serve` and its tools work."""

import os
import subprocess
import sys
from pathlib import Path

import aigen
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import KEY
from tests.emulator_server import RunningEmulator


def test_a_key_is_all_it_needs(make_daemon: MakeDaemon, emulator: RunningEmulator, tmp_path: Path, monkeypatch):
    """Socket, state and cache lie in the XDG directories with mode 0700, and client and CLI find them without being told."""
    for name in ("run", "state", "cache", "config"):
        (tmp_path / name).mkdir(mode=0o700)
    places = {"XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "state", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config"}
    environ = {variable: str(tmp_path / name) for variable, name in places.items()}
    key = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": emulator.base_url}
    daemon = make_daemon(environ=environ | key)
    daemon.config.unlink()
    daemon.start(fresh=True, arguments=["serve"])
    monkeypatch.delenv("AIGEN_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", environ["XDG_RUNTIME_DIR"])
    with aigen.Client() as client:
        answer = client.complete("Say hello", model="gpt-4o-mini")
        assert (answer.provider, answer.cost_basis) == ("openai", "priced")
        assert client.complete("Say hello", model="gpt-4o-mini").cache_outcome == "hit"
    command = [sys.executable, "-m", "aigenctl", "stats", "--json"]
    told = subprocess.run(command, capture_output=True, text=True, env=os.environ | environ, timeout=15)
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "run" / "aigen" / "aigend.sock").is_socket()
    assert (tmp_path / "state" / "aigen" / "ledger.db").is_file()
    assert (tmp_path / "cache" / "aigen" / "cache.db").is_file()
    for folder in ("run", "state", "cache"):
        assert (tmp_path / folder / "aigen").stat().st_mode & 0o777 == 0o700
    assert daemon.stop() == 0


def test_without_key_and_settings_it_serves_and_says_what_is_missing(make_daemon: MakeDaemon):
    """A daemon that knows no provider starts; a call is told where a key may come from."""
    daemon = make_daemon(base_url="").start()
    with pytest.raises(aigen.PreconditionFailed, match="OPENAI_API_KEY") as refused:
        daemon.client().complete("Say hello", model="gpt-4o-mini")
    assert refused.value.reason == "PROVIDER_NOT_CONFIGURED"


def test_unknown_setting_ends_the_start(make_daemon: MakeDaemon):
    """A typo exits with 78, the file, the line and the nearest key."""
    daemon = make_daemon()
    daemon.config.write_text("# mine\nlimits:\n  totl: 3\n")
    assert daemon.start(ready=False, fresh=True).wait() == 78
    assert f"{daemon.config}:3" in daemon.log() or "line 3" in daemon.log()
    assert "limits.total" in daemon.log()


def test_settings_can_be_checked_without_serving(make_daemon: MakeDaemon):
    """`aigend config check` ends with 0 for settings that can be used."""
    daemon = make_daemon()
    assert daemon.start(ready=False, arguments=["config", "check", "--config", str(daemon.config)]).wait() == 0
