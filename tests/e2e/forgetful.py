"""A daemon that gives lines without an id another one each time that it reads them: the control of the tests with an inbox.

Called with the command of an ordinary daemon, which it becomes.
"""

import secrets
import sys

from aigend.__main__ import main
from aigend.intake import work_file


def random_id(_: str, __: str, number: int) -> str:
    """Return an id that nobody can find again."""
    return f"inbox-{secrets.token_hex(16)}-{number}"


if __name__ == "__main__":
    work_file.line_id = random_id
    sys.exit(main(sys.argv[4:]))  # behind: interpreter, -m, aigend
