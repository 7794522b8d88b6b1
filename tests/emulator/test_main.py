"""`python -m aigen_emulator` as a process."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from aigen_emulator.__main__ import main


def test_it_says_where_it_is_and_stops_in_order(tmp_path: Path) -> None:
    """One JSON line when ready, answers, exit code 0 on SIGTERM."""
    command = [sys.executable, "-m", "aigen_emulator", "--port", "0", "--truth", str(tmp_path / "truth.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        ready = json.loads(process.stdout.readline())
        assert ready["base_url"] == f"http://127.0.0.1:{ready['port']}/v1"
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
        with urllib.request.urlopen(f"{ready['base_url']}/chat/completions", body, timeout=5) as answer:  # noqa: S310 - loopback
            assert json.load(answer)["choices"][0]["finish_reason"] == "stop"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    assert len((tmp_path / "truth.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("option", [["--per-minute", "0"], ["--token-ms", "-1"], ["--nonsense"], ["--port", "x"]])
def test_bad_options_are_refused(option: list[str]) -> None:
    """A bad option ends with code 2."""
    with pytest.raises(SystemExit) as caught:
        main(option)
    assert caught.value.code == 2


def test_a_truth_file_that_cannot_be_written_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The file is named, and nothing is served."""
    assert main(["--truth", str(tmp_path / "missing" / "truth.jsonl")]) == 73
    assert "missing/truth.jsonl" in capsys.readouterr().err
