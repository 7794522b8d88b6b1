"""The client is thin in memory as well."""

import json
import subprocess
import sys

import pytest
from aigen.testing import FakeDaemon

LIMIT_MB = 25
PROGRAM = """
import sys
def own():
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1_000
before = own()
import aigen
with aigen.Client(sys.argv[1]) as client:
    assert client.complete("hi").text == "echo: hi"
    print(own() - before)
"""


def test_client_with_a_call_adds_at_most_25_mb(daemon: FakeDaemon):
    """A bare process that imports the client and makes one call grows by at most 25 MB of memory that is its own."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, daemon.socket], capture_output=True, text=True, check=True)
    assert 5 < float(done.stdout) <= LIMIT_MB


@pytest.mark.parametrize("module", ["client", "aio", "testing", "types", "errors", "presets"])
def test_any_module_may_be_imported_first(module: str):
    """A module of the client can be imported by itself, before the package has loaded anything."""
    program = f"import json, sys, aigen.{module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"aigen.{module}" in json.loads(done.stdout)
