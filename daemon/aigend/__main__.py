"""The command `aigend`: arguments and settings in, an exit code out.

It needs nothing beyond the standard library until a command runs, so that a missing extra can be named.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from aigend.config import LoadedSettings

EXIT_OK = 0
EXIT_EXTRA_MISSING = 2
EXIT_USAGE = 64  # EX_USAGE
_MISSING = "{} is missing, which the extra daemon brings: pip install '.[daemon]' in a checkout of aigen, or 'WHEEL[daemon]'"
_OVERRIDES = {"socket": "AIGEND_SOCKET", "state_directory": "AIGEND_STATE_DIRECTORY", "cache_directory": "AIGEND_CACHE_DIRECTORY"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print what is wrong and end with the code for wrong usage."""
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 extra missing, 64 usage, 75 busy, 78 settings.

    Args:
        arguments: Words after the command's name; None takes this process's own.
        environ: Where variables are read; None takes this process's own.
    """
    options = _parser().parse_args(arguments)
    environ = dict(os.environ if environ is None else environ)
    environ |= {variable: value for name, variable in _OVERRIDES.items() if (value := getattr(options, name, None))}
    try:
        return _run(options, environ)
    except ModuleNotFoundError as error:
        if (error.name or "aigend").partition(".")[0] == "aigend":
            raise
        return _fail(_MISSING.format(error.name), EXIT_EXTRA_MISSING)
    except Exception as error:
        code = getattr(error, "exit_code", None)  # refusals say what a process that meets them ends with
        if code is None:
            raise
        return _fail(str(error), code)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="aigend", description="Response cache, scheduler and usage ledger for programs that pay for language models."
    )
    parser.add_argument("--version", action="version", version=f"aigend {metadata.version('aigen')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve until told to stop")
    _add_config(serve)
    for name, what in (
        ("socket", "socket to serve"),
        ("state-directory", "directory of the ledger"),
        ("cache-directory", "directory of the cache"),
    ):
        _add_place(serve, name, what)
    ledger = commands.add_parser("ledger", help="examine, copy, restore or set aside the ledger").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    verify = ledger.add_parser("verify", help="check every row, sum and checksum")
    verify.add_argument("--archives", action="store_true", help="check the files of archived months too")
    _add_config(verify)
    archive = ledger.add_parser("archive", help="write whole months to files and take them out of the ledger; sums stay")
    archive.add_argument("--before", metavar="YYYY-MM", required=True, help="first month that stays")
    archive.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    _add_config(archive)
    _add_config(ledger.add_parser("repair", help="set a ledger aside that is refused, so that the next start begins a new one"))
    for name, what in (
        ("backup", "copy the ledger to a new file; a daemon may serve it meanwhile"),
        ("restore", "put a copy in the ledger's place and set aside what was there"),
    ):
        copying = ledger.add_parser(name, help=what)
        copying.add_argument("path", metavar="PATH", type=_path, help="the copy")
        _add_config(copying)
    for action in ledger.choices.values():
        _add_place(action, "state-directory", "directory of the ledger")
    config = commands.add_parser("config", help="print or check settings").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    config.add_parser("default", help="print a commented settings file with every default")
    _add_config(config.add_parser("check", help="say whether settings can be used"))
    show = config.add_parser("show", help="print the settings in force and where each comes from")
    _add_config(show)
    show.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings file; without it $AIGEND_CONFIG or the usual place")


def _add_place(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    parser.add_argument(f"--{name}", metavar="PATH", type=_absolute, help=f"{what}, instead of what the settings say")


def _absolute(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty; allowed: a path")
    return str(Path(text).absolute())


def _path(text: str) -> Path:
    return Path(_absolute(text))


def _import_log() -> None:
    """Import the log's library without rich, which it would load for tracebacks that aigend never prints: 4 MB of memory."""
    absent: Any = None
    if "rich" not in sys.modules:
        sys.modules["rich"] = absent
        try:
            import_module("structlog")
        finally:
            del sys.modules["rich"]


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    _import_log()
    config = import_module("aigend.config")
    if options.command == "config" and options.action == "default":
        return _print(config.default_document())
    loaded: LoadedSettings = config.load_settings(options.config, environ)
    if options.command == "serve":
        return int(import_module("aigend.server").run(loaded, environ=environ))
    if options.command == "ledger":
        return _ledger(options, loaded)
    if options.action == "check":
        clock = import_module("aigend.clock").SystemClock()
        for warning in import_module("aigend.config_check").check(loaded, environ, clock=clock):
            sys.stderr.write(f"aigend: warning: {warning}\n")
        return _print(f"{loaded.path or 'no settings file; defaults and variables'}: ok\n")
    return _print(_json(loaded) if options.json else _table(loaded))


def _ledger(options: argparse.Namespace, loaded: "LoadedSettings") -> int:
    clock = import_module("aigend.clock").SystemClock()
    command = import_module("aigend.ledger_command")
    wish = command.Wish(
        copy=getattr(options, "path", None),
        before=getattr(options, "before", ""),
        dry_run=getattr(options, "dry_run", False),
        archives=getattr(options, "archives", False),
    )
    return int(command.run(options.action, loaded, clock=clock, wish=wish, say=lambda line: _print(line + "\n")))


def _table(loaded: "LoadedSettings") -> str:
    rows = [(setting.key, setting.value_json, setting.origin) for setting in loaded.flatten()]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "".join(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {origin}\n" for key, value, origin in rows)


def _json(loaded: "LoadedSettings") -> str:
    flat = {setting.key: {"value": json.loads(setting.value_json), "origin": setting.origin} for setting in loaded.flatten()}
    return json.dumps(flat, indent=2) + "\n"


def _print(text: str) -> int:
    sys.stdout.write(text)
    return EXIT_OK


def _fail(text: str, code: int) -> int:
    for line in text.splitlines():
        sys.stderr.write(f"aigend: {line}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
