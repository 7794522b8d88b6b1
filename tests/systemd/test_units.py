"""The unit files are valid, hardened, and agree with the daemon."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aigend import __main__
from aigend.config import Settings

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_UNIT = ROOT / "systemd" / "aigend.service"
USER_UNIT = ROOT / "systemd" / "user" / "aigend.service"
ANALYZE = shutil.which("systemd-analyze")
HIGHEST_EXPOSURE = 1.1

needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def values(unit: Path, name: str) -> list[str]:
    """Return what a unit sets under a name, in order."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def installed(unit: Path, folder: Path) -> Path:
    """Return a copy of the unit that starts a program of this machine, for verify looks whether it exists."""
    copy = folder / unit.name
    copy.write_text(re.sub(r"^(ExecStart=)\S+", rf"\1{sys.executable}", unit.read_text(), flags=re.MULTILINE))
    return copy


def analyze(*arguments: str, runtime: Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, which reads files and starts nothing."""
    environ = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(runtime), "HOME": str(runtime)}
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, env=environ, timeout=15, check=False)


@needs_systemd
@pytest.mark.parametrize(("unit", "which"), [(SYSTEM_UNIT, "--system"), (USER_UNIT, "--user")])
def test_units_pass_verify(unit, which, tmp_path):
    """Neither systemd itself nor a user's manager has anything to complain about."""
    ended = analyze("verify", which, "--man=no", str(installed(unit, tmp_path)), runtime=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


@needs_systemd
def test_verify_notices_a_misspelt_directive(tmp_path):
    """Control: the same check complains about a unit that is wrong."""
    copy = installed(SYSTEM_UNIT, tmp_path)
    copy.write_text(copy.read_text().replace("NoNewPrivileges=", "NoNewPrivilegs="))
    assert "NoNewPrivilegs" in analyze("verify", "--system", "--man=no", str(copy), runtime=tmp_path).stderr


def exposure(unit: Path, runtime: Path) -> tuple[float, int]:
    """Return the exposure that systemd computes, and its exit code."""
    ended = analyze("security", "--offline=true", "--threshold=15", "--no-pager", str(unit), runtime=runtime)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", ended.stdout)
    assert found is not None, ended.stdout + ended.stderr
    return float(found[1]), ended.returncode


@needs_systemd
def test_the_system_unit_is_hardened(tmp_path):
    """Exposure is what a service with a socket and outgoing connections can't avoid."""
    level, code = exposure(SYSTEM_UNIT, tmp_path)
    assert code == 0
    assert level <= HIGHEST_EXPOSURE


@needs_systemd
def test_exposure_notices_a_missing_restriction(tmp_path):
    """Control: without its filter of system calls the unit is not hardened enough."""
    weaker = tmp_path / "aigend.service"
    weaker.write_text(re.sub(r"^SystemCallFilter=.*\n", "", SYSTEM_UNIT.read_text(), flags=re.MULTILINE))
    assert exposure(weaker, tmp_path)[0] > HIGHEST_EXPOSURE


@pytest.mark.parametrize("unit", [SYSTEM_UNIT, USER_UNIT])
def test_units_agree_with_the_daemon(unit):
    """The command exists, what can't heal is not restarted, and a stop waits for the drain."""
    program, *arguments = values(unit, "ExecStart")[0].split()
    assert Path(program).name == "aigend"
    assert __main__._parser().parse_args(arguments).command == "serve"
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "Restart") == ["on-failure"]
    codes = {__main__.EXIT_EXTRA_MISSING, __main__.EXIT_USAGE, 78}
    assert set(map(int, values(unit, "RestartPreventExitStatus")[0].split())) == codes
    drain = Settings().drain
    assert int(values(unit, "TimeoutStopSec")[0]) > drain.admin_timeout_s + drain.provider_timeout_s
    assert int(values(unit, "WatchdogSec")[0]) > 0


def test_the_system_unit_keeps_its_files_to_itself():
    """Directories are made by systemd for the daemon's user alone."""
    for kind in ("Runtime", "State", "Cache"):
        assert values(SYSTEM_UNIT, f"{kind}Directory") == ["aigend"]
        assert values(SYSTEM_UNIT, f"{kind}DirectoryMode") == ["0700"]
    assert values(SYSTEM_UNIT, "UMask") == ["0077"]
    assert values(SYSTEM_UNIT, "User") == ["aigend"]
    assert values(SYSTEM_UNIT, "SystemCallFilter") == ["@system-service", "~@privileged @resources"]


def test_variables_in_the_example_are_settings():
    """Every AIGEND_ variable in the example is one that the daemon knows."""
    from aigend.config import load_settings

    text = (ROOT / "systemd" / "aigend.env.example").read_text()
    given = dict(re.findall(r"^#?([A-Z0-9_]+)=(\S*)$", text, re.MULTILINE))
    ours = {name: value for name, value in given.items() if name.startswith("AIGEND_") and name != "AIGEND_CONFIG"}
    assert len(ours) >= 7
    assert load_settings(None, ours | {"HOME": "/x"}).settings.telemetry.traces is True
