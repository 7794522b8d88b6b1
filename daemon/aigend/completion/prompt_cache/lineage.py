"""Which prefix a call wrote to its provider's cache, and which one written before it sent again: names for the ledger's rows.

A conversation that grows reads what its last turn wrote, and calls that share a system prompt read what the first of them wrote.
Each read is put down to that write, so that what writes cost and what their reads saved stand against each other.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain

from aigend.completion.prompt_cache.plans import PromptPlan
from aigend.ledger.entries import PrefixUse
from aigend.scheduling.prompt_cache.prefixes import Prefix
from aigend.types import TokenUsage

MOST_PREFIXES = 32_768
SHORT_BYTES = 8  # of a digest: enough to tell the prefixes of one model apart


class PrefixLineage:
    """Remembers which write each prefix came from; the longest unused goes first.

    What has expired at the provider is remembered too: sending it again in vain is what a longer lifetime would have spared.

    Args:
        most: How many are remembered.
    """

    def __init__(self, *, most: int = MOST_PREFIXES) -> None:
        self._most = most
        self._writes: OrderedDict[tuple[str, bytes], str] = OrderedDict()  # owner and prefix -> short digest of its write

    def booked(self, plan: PromptPlan, usage: TokenUsage, *, premium_nanos: int | None) -> PrefixUse:
        """Return what the row of a settled call says of its prefixes, and remember what it wrote.

        Args:
            plan: What was asked of the prompt cache.
            usage: What the provider counted.
            premium_nanos: What its writes cost above ordinary input.
        """
        written = usage.cache_write_5m + usage.cache_write_1h
        wrote = short(plan.marked[-1]) if plan.marked else ""
        before = self._before(plan)
        if not before and usage.cache_read and wrote and not written:
            before = wrote  # read whole, and written before this daemon began to remember
        if wrote and (written or usage.cache_read):
            for prefix in plan.marked:
                known = self._writes.get((plan.owner, prefix.digest), "")
                self._put((plan.owner, prefix.digest), known if known and usage.cache_read else wrote)
        return PrefixUse(prefix=wrote, read_prefix=before, write_premium_nanos=premium_nanos)

    def _before(self, plan: PromptPlan) -> str:
        """The write that the longest prefix sent before came from; empty where none is known."""
        known = [prefix for prefix in _sent(plan) if (plan.owner, prefix.digest) in self._writes]
        if not known:
            return ""
        key = (plan.owner, max(known, key=lambda prefix: prefix.blocks).digest)
        self._writes.move_to_end(key)
        return self._writes[key]

    def _put(self, key: tuple[str, bytes], wrote: str) -> None:
        self._writes[key] = wrote
        self._writes.move_to_end(key)
        if len(self._writes) > self._most:
            self._writes.popitem(last=False)


def short(prefix: Prefix) -> str:
    """Return the name of a prefix in the ledger.

    Example:
        >>> from aigend.types import PartPlace
        >>> short(Prefix(digest=bytes(range(16)), tokens=1_200, place=PartPlace(None, 0), blocks=1))
        '0001020304050607'
    """
    return prefix.digest[:SHORT_BYTES].hex()


def _sent(plan: PromptPlan) -> Iterator[Prefix]:
    prefixes = plan.prefixes
    last = () if prefixes.turn is None else (prefixes.turn,)
    return chain(prefixes.stable, prefixes.earlier, prefixes.own, last)
