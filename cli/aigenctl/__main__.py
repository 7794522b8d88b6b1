"""`aigenctl`: runs the command line where its extra is installed, and says which one is missing where it is not."""

import sys
from io import TextIOWrapper

MISSING_EXTRA = 2


def main() -> None:
    """Run the command line with the arguments of this process."""
    try:
        from aigenctl.app import app  # noqa: PLC0415 - the extra is optional, the entry point is not
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        sys.stderr.write(f"aigenctl needs the package {error.name}, which is not installed: pip install 'aigen[cli]'\n")
        sys.exit(MISSING_EXTRA)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode shows a paid answer all the same
    app()


if __name__ == "__main__":
    main()
