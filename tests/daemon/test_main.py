"""The command `aigend`: arguments, exit codes, and what is printed where."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from aigend.__main__ import main
from aigend.config import default_document

ENVIRON = {"HOME": "/x", "XDG_RUNTIME_DIR": "/run/user/1"}


class RefusedError(Exception):
    """A refusal that knows its exit code."""

    exit_code = 75


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list:
    """Stand in for the server and note what it was asked to run."""
    calls: list = []

    def run(loaded, *, environ):
        calls.append((loaded, environ))
        return 0

    monkeypatch.setitem(sys.modules, "aigend.server", types.SimpleNamespace(run=run))
    return calls


def test_serve_hands_settings_and_environment_to_the_server(served, tmp_path):
    """Paths on the command line win over file and environment."""
    path = tmp_path / "aigend.yaml"
    path.write_text("limits: {total: 3}\nsocket: /a/b\n")
    arguments = [
        "serve",
        "--config",
        str(path),
        "--socket",
        f"{tmp_path}/s",
        "--state-directory",
        "/st",
        "--cache-directory",
        "/ca",
    ]
    assert main(arguments, ENVIRON) == 0
    loaded, environ = served[0]
    assert loaded.settings.limits.total == 3
    assert (str(loaded.places.socket), str(loaded.places.state_directory)) == (f"{tmp_path}/s", "/st")
    assert str(loaded.places.cache_directory) == "/ca"
    assert environ["HOME"] == "/x"


def test_serve_returns_the_servers_exit_code(monkeypatch):
    """What the server ends with, the process ends with."""
    monkeypatch.setitem(sys.modules, "aigend.server", types.SimpleNamespace(run=lambda loaded, *, environ: 3))
    assert main(["serve"], ENVIRON) == 3


def test_a_refusal_ends_with_its_own_code(monkeypatch, capsys):
    """A held lock ends with 75 and one line, not with a traceback."""

    def run(loaded, *, environ):
        raise RefusedError("another one serves")

    monkeypatch.setitem(sys.modules, "aigend.server", types.SimpleNamespace(run=run))
    assert main(["serve"], ENVIRON) == 75
    assert capsys.readouterr().err == "aigend: another one serves\n"


def test_a_defect_is_not_dressed_up(monkeypatch):
    """An exception without an exit code is a defect and stays one."""

    def run(loaded, *, environ):
        raise KeyError("x")

    monkeypatch.setitem(sys.modules, "aigend.server", types.SimpleNamespace(run=run))
    with pytest.raises(KeyError):
        main(["serve"], ENVIRON)


def test_wrong_settings_end_with_78_line_and_nearest_key(tmp_path, capsys, served):
    """A typo in the settings ends the start before anything is opened."""
    path = tmp_path / "aigend.yaml"
    path.write_text("limits:\n  totl: 3\n")
    assert main(["serve", "--config", str(path)], ENVIRON) == 78
    assert capsys.readouterr().err == f"aigend: {path}:2: limits.totl is no setting; did you mean limits.total?\n"
    assert served == []


@pytest.mark.parametrize("arguments", [[], ["fly"], ["serve", "--port", "1"], ["config"], ["serve", "--socket", ""]])
def test_wrong_usage_ends_with_64(arguments, capsys):
    """Scripts can tell a wrong command line from wrong settings."""
    with pytest.raises(SystemExit) as caught:
        main(arguments, ENVIRON)
    assert caught.value.code == 64
    assert "usage: aigend" in capsys.readouterr().err


def test_version_is_printed(capsys):
    """`--version` names program and version."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"], ENVIRON)
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("aigend 0.")


def test_config_default_prints_the_settings_file(capsys):
    """What is printed is the document of all settings."""
    assert main(["config", "default"], {}) == 0
    assert capsys.readouterr().out == default_document()


def test_config_check_says_what_was_checked(tmp_path, capsys):
    """Good settings end with 0 and the file's name."""
    path = tmp_path / "aigend.yaml"
    path.write_text("limits: {total: 3}\n")
    assert main(["config", "check", "--config", str(path)], ENVIRON) == 0
    assert main(["config", "check"], ENVIRON) == 0
    assert capsys.readouterr().out == f"{path}: ok\nno settings file; defaults and variables: ok\n"


def test_config_check_warns_of_a_variable_that_is_not_set(tmp_path, capsys):
    """A provider whose key shall come from a variable that is not set is named on standard error; the settings can be used."""
    path = tmp_path / "aigend.yaml"
    path.write_text(
        "providers:\n  openai:\n    api_key_env: NOT_THERE\n  other:\n    base_url: https://other.example/v1\n"
        "    keys: [{env: sk-planted}, {env: SET}]\n"
    )
    assert main(["config", "check", "--config", str(path)], ENVIRON | {"SET": "a key"}) == 0
    said = capsys.readouterr()
    assert said.out == f"{path}: ok\n"
    assert said.err.splitlines() == [
        f"aigend: warning: {path}:3: providers.openai.api_key_env names the variable NOT_THERE, which is not set here: "
        "provider openai has no key",
        f"aigend: warning: {path}:6: providers.other.keys.0.env names the variable ***, which is not set here: "
        "provider other goes without this key",
    ]
    assert main(["config", "check", "--config", str(path)], ENVIRON | {"SET": "a", "NOT_THERE": "b", "sk-planted": "c"}) == 0
    assert capsys.readouterr().err == ""


def test_config_show_prints_values_and_origins(capsys):
    """Every leaf is shown once, as a table or as JSON."""
    environ = ENVIRON | {"AIGEND_LIMITS__TOTAL": "8", "AIGEND_PROVIDERS__OPENAI__API_KEY": "planted"}
    assert main(["config", "show"], environ) == 0
    table = capsys.readouterr().out
    assert [line.split() for line in table.splitlines() if line.startswith("limits.total")] == [
        ["limits.total", "8", "environment"]
    ]
    assert main(["config", "show", "--json"], environ) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["limits.total"] == {"value": 8, "origin": "environment"}
    assert "planted" not in table + str(shown)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    environ = {"PATH": os.defpath, "HOME": "/x"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, timeout=15, check=False)


def test_without_its_extra_the_command_says_what_to_install():
    """The entry point exists without the extra; it names the extra and ends with 2."""
    code = "import sys; sys.modules['pydantic'] = None; from aigend.__main__ import main; sys.exit(main(['serve']))"
    ended = run_python(code)
    assert ended.returncode == 2
    assert ended.stderr.startswith(
        "aigend: pydantic is missing, which the extra daemon brings: pip install '.[daemon]' in a checkout"
    )
    assert len(ended.stderr.splitlines()) == 1


def test_the_log_does_not_bring_what_draws_tables():
    """The daemon's memory does not hold rich, which the log's library loads where it finds it; others can still import it."""
    begun = "import sys; from aigend.__main__ import main; main(['config', 'default']); import aigend.server"
    found = run_python(f"{begun}; print('rich' in sys.modules); import rich")
    assert (found.returncode, found.stdout.splitlines()[-1]) == (0, "False")


def test_a_missing_module_of_our_own_is_a_defect():
    """Only somebody else's package can be a missing extra."""
    code = (
        "import sys; sys.modules['aigend.config'] = None; from aigend.__main__ import main; sys.exit(main(['config', 'default']))"
    )
    ended = run_python(code)
    assert ended.returncode == 1
    assert "aigend.config" in ended.stderr


def test_the_module_runs_as_a_program(tmp_path: Path):
    """`python -m aigend` is the command, and needs no third-party package to parse its arguments."""
    code = "import sys; sys.argv = ['aigend', '--version']; import runpy; runpy.run_module('aigend', run_name='__main__')"
    ended = run_python(code + "; assert 'pydantic' not in sys.modules")
    assert ended.returncode == 0
    assert ended.stdout.startswith("aigend ")
