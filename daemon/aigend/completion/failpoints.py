"""Named places on the paid path where a test lets the process die; disarmed, passing one compares two strings.

`server.py` decides whether one is armed. Nothing here reads the environment.
"""

import os
import signal
from collections.abc import Callable

NAMES = (
    "before_intent",  # nothing is booked
    "after_intent",  # RESERVED and SENT are durable, the request has not left
    "before_settle",  # the answer is read, and nothing of it is booked
    "after_settle",  # SETTLED and the reply are durable, nobody has seen the answer
    "before_cache_put",  # settled and in memory; the cache's disk does not have it
    "after_cache_put",  # all is done
    "before_upload",  # SUBMITTED is durable, nothing of the provider's batch job has left
    "after_upload",  # the provider has the job, its id is not stored
    "while_polling",  # the job's id is stored, and the provider was asked how far it is
    "mid_results",  # one line of the job is settled, others are not
)
_EXIT_CONFIG = 78


class FailpointRefusedError(ValueError):
    """A failpoint that does not exist; `exit_code` is what the process ends with."""

    exit_code = _EXIT_CONFIG


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Failpoints:
    """One armed failpoint, or none.

    Args:
        armed: `<name>:kill`; empty for none.
        die: Ends the process without another instruction.

    Raises:
        FailpointRefusedError: No such name, or another action than `kill`.
    """

    def __init__(self, armed: str = "", *, die: Callable[[], None] = _die) -> None:
        name, _, action = armed.partition(":")
        if armed and (name not in NAMES or action != "kill"):
            raise FailpointRefusedError(f"AIGEND_FAILPOINT is {armed!r}; allowed: one of {', '.join(NAMES)}, followed by :kill")
        self._armed = name
        self._die = die

    def armed(self, name: str) -> bool:
        """Return whether this is the one that is armed."""
        return name == self._armed

    def passing(self, name: str) -> None:
        """Die here, if this is the one that is armed."""
        if name == self._armed:
            self._die()


NO_FAILPOINTS = Failpoints()
