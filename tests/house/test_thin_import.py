"""The client is thin: `import aigen` brings gRPC, protobuf and nothing else, and little memory."""

import json
import subprocess
import sys

# grpcio itself imports typing_extensions, and its health and reflection packages where they happen to be installed.
ALLOWED = {"aigen", "grpc", "google", "typing_extensions", "grpc_health", "grpc_reflection", "grpc_status"}
PROGRAM = """
import json, sys
{before}
known = set(sys.modules)
def private():
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
memory = private()
import aigen
aigen.Client  # the package itself loads nothing before a name is used
found = sorted(set(sys.modules) - known)
print(json.dumps({{"names": found, "memory_kb": private() - memory}}))
"""


def imported(before: str = "") -> dict:
    """Return what `import aigen` brings into a fresh process, after some lines."""
    program = PROGRAM.format(before=before)
    return json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def foreign(names: list[str]) -> set[str]:
    """Return the packages that are neither allowed, nor Python's, nor made by Cython in memory."""
    roots = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - ALLOWED
    return {root for root in roots if "cython" not in root}


def test_import_brings_only_the_base_dependencies():
    """Beside the standard library only aigen, grpc and google are imported."""
    assert foreign(imported()["names"]) == set()


def test_a_further_import_would_be_noticed():
    """Control: a module that is imported beside them is foreign."""
    assert foreign([*imported()["names"], "pydantic.main"]) == {"pydantic"}


def test_import_leaves_optional_parts_alone():
    """Neither the test daemon nor the generated service classes nor the other packages of the house are loaded."""
    names = set(imported()["names"])
    assert "aigen.testing" not in names
    assert not any(name.endswith("_pb2_grpc") or name.startswith(("aigend", "aigenctl", "opentelemetry")) for name in names)


def test_client_adds_at_most_25_mb_to_an_asyncio_process():
    """A process that uses asyncio, as every pipeline does, grows by at most 25 MB of its own memory."""
    assert imported("import asyncio, ssl")["memory_kb"] <= 25 * 1024
