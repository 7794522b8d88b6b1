"""Exit codes: one number for each class of failure, so that scripts can tell them apart. `docs/cli.md` is the table."""

from enum import IntEnum

import aigen


class Exit(IntEnum):
    """What the process returns; the numbers never change."""

    OK = 0
    DAEMON_FAULT = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    LIMIT_REACHED = 5
    PROVIDER_ERROR = 6
    OUTCOME_UNKNOWN = 7
    DECLINED = 8
    UNANSWERED = 9
    DAEMON_UNAVAILABLE = 69
    DEADLINE_EXCEEDED = 124
    INTERRUPTED = 130


_BY_CLASS: tuple[tuple[type[aigen.AigenError], Exit], ...] = (  # most specific first
    (aigen.DaemonUnavailable, Exit.DAEMON_UNAVAILABLE),
    (aigen.DeadlineExceeded, Exit.DEADLINE_EXCEEDED),
    (aigen.NotFound, Exit.NOT_FOUND),
    (aigen.LimitReached, Exit.LIMIT_REACHED),
    (aigen.ProviderError, Exit.PROVIDER_ERROR),
    (aigen.OutcomeUnknown, Exit.OUTCOME_UNKNOWN),
    (aigen.RequestRefused, Exit.REFUSED),
    (aigen.DaemonFault, Exit.DAEMON_FAULT),
)


def exit_code(error: aigen.AigenError) -> Exit:
    """Return the exit code of a failure; a class that this version does not know counts as DAEMON_FAULT."""
    return next((code for kind, code in _BY_CLASS if isinstance(error, kind)), Exit.DAEMON_FAULT)
