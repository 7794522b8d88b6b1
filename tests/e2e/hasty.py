"""A daemon that looks for months to archive at once and often, instead of after a minute and every few hours.

Called with the command of an ordinary daemon, which it becomes.
"""

import sys

from aigend.__main__ import main
from aigend.ledger import retention

if __name__ == "__main__":
    retention.FIRST_AFTER_S = retention.EVERY_S = 0.2
    sys.exit(main(sys.argv[4:]))  # behind: interpreter, -m, aigend
