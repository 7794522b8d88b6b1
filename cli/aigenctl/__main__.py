"""`aigenctl`: runs the command line where its extra is installed, and says which one is missing where it is not."""

import sys
from io import TextIOWrapper

MISSING_EXTRA = 2
_MISSING = "aigenctl: {} is missing, which the extra cli brings: pip install '.[cli]' in a checkout of aigen, or 'WHEEL[cli]'\n"


def main() -> None:
    """Run the command line with the arguments of this process."""
    try:
        from aigenctl.app import app  # noqa: PLC0415 - the extra is optional, the entry point is not
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("typer", "rich"):
            raise
        sys.stderr.write(_MISSING.format(package))
        sys.exit(MISSING_EXTRA)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode shows a paid answer all the same
    app()


if __name__ == "__main__":
    main()
