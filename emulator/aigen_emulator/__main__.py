"""`python -m aigen_emulator`: one JSON line with port and address when ready, then answers until told to stop."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from aigen_emulator.app import Emulator, EmulatorSettings
    from aigen_emulator.server import EmulatorServer
except ModuleNotFoundError as missing:
    if (missing.name or "").startswith("aigen_emulator"):
        raise
    how = "pip install '.[emulator]' in a checkout of aigen, or 'WHEEL[emulator]'"
    sys.stderr.write(f"aigen_emulator: {missing.name} is missing, which the extra emulator brings: {how}\n")
    sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the return value is the exit code."""
    chosen = _parser().parse_args(arguments)
    settings = {name: value for name, value in vars(chosen).items() if name != "port"}
    try:
        server = EmulatorServer(Emulator(EmulatorSettings(**settings)), port=chosen.port, on_ready=_say_ready)
    except (OSError, OverflowError) as error:
        sys.stderr.write(f"aigen_emulator: port {chosen.port}, truth {chosen.truth}: {error}\n")
        return 73
    for number in (signal.SIGTERM, signal.SIGINT):  # what the server raises again after its orderly end
        signal.signal(number, lambda *_: None)
    server.run()
    return 0


def _say_ready(server: EmulatorServer) -> None:
    ready = {"port": server.port, "base_url": server.base_url, "control_url": server.control_url}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aigen_emulator", description="A provider of language models on loopback.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument(
        "--truth", type=Path, help="write one JSON line a charged call to this file, on disk before the answer leaves"
    )
    parser.add_argument("--first-token-ms", type=_positive_float, default=0.0, help="wait before an answer")
    parser.add_argument("--token-ms", type=_positive_float, default=0.0, help="wait a token")
    parser.add_argument(
        "--answer-tokens", type=_positive, help="length of answers whose prompt asks for none by [[answer:tokens=N]]"
    )
    parser.add_argument("--max-concurrent", type=_positive, help="requests in flight; more are refused with 429")
    parser.add_argument("--per-minute", type=_positive, help="requests in any 60 seconds; more are refused with 429")
    parser.add_argument(
        "--tokens-per-minute", type=_positive, help="tokens of prompts and answers in any 60 seconds; more are refused with 429"
    )
    parser.add_argument("--batch-delay-s", type=_positive_float, default=0.0, help="how long batch jobs take")
    parser.add_argument("--prompt-cache", action="store_true", help="bill repeated prefixes of 1,024 tokens and more as cached")
    parser.add_argument("--trace-rules", action="store_true", help="keep and count marked prefixes as traces are replayed")
    parser.add_argument("--api-key", help="answer 401 to any other key")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number >= 1")
    return number


def _positive_float(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1,000,000")
    return number


if __name__ == "__main__":
    sys.exit(main())
