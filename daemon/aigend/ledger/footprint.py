"""How much of the write-ahead log the ledger's writes take at most, about, in bytes; what a call is promised when it is reserved.

Source:
    Measured over some thousand calls with four budgets, one at a time, roll-ups included: a reservation writes 9 to 18 pages of
    4 KiB, a settlement without its reply 5 to 7, and up to a dozen more where its quarter of an hour is folded already. In a group
    most pages are shared. A page that is freed is written too, because SQLite wipes it.
"""

from aigend.ledger.entries import Settlement
from aigend.storage.group_commit import OPERATION_BYTES

PAGE_BYTES = 4_096 + 24  # with its header in the log
REPLY_BYTES = 64 * 1024  # of a reply that is kept whatever becomes of the disk; a larger one only if there is room
PROMISE_BYTES = OPERATION_BYTES + REPLY_BYTES  # for the end of a call that was reserved
CALL_BYTES = OPERATION_BYTES + PROMISE_BYTES  # for a call from its reservation to its end


def settling(settlement: Settlement) -> int:
    """Return what it takes to settle a call with its reply."""
    return OPERATION_BYTES + len(settlement.reply) + len(settlement.provider_usage_json)


def counting(keys: int) -> int:
    """Return what it takes to add hits to the rows of so many keys."""
    return OPERATION_BYTES + keys * PAGE_BYTES


def dropping(sizes: list[int]) -> int:
    """Return what it takes to drop replies of these sizes."""
    return OPERATION_BYTES + sum(2 * PAGE_BYTES + size for size in sizes)
