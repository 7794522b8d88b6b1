"""A process that has imported all that a daemon needs and forks daemons out of itself, each a life of its own.

A life begins in a tenth of the time that a fresh interpreter takes, so that hundreds of them fit into minutes. Commands come as
JSON lines: `{"start": [arguments], "environ": {}, "log": path}` answers with a pid, `{"wait": pid}` with how that process ended.
"""

import importlib
import json
import os
import sys
import traceback

MODULES = (
    "aigend.server",
    "aigend.providers.openai.chat",
    "aigend.ledger.prices.published",
    "genai_prices.data",
    "aigend.__main__",
)


def main() -> None:
    """Answer commands until the other end goes."""
    for name in MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        command = json.loads(line)
        sys.stdout.write(f"{_start(command) if 'start' in command else _wait(command['wait'])}\n")
        sys.stdout.flush()


def _start(command: dict) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        _become(command)
        code = importlib.import_module("aigend.__main__").main(command["start"])
    except Exception:  # noqa: BLE001 - as the interpreter would end
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


def _become(command: dict) -> None:
    """Take on a daemon's environment, standard streams and process group."""
    os.environ.clear()
    os.environ.update(command["environ"])
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor, target in ((nothing, 0), (nothing, 1), (log, 2)):
        os.dup2(descriptor, target)


def _wait(pid: int) -> int:
    """Return an exit code, negative for the signal that ended the process."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
