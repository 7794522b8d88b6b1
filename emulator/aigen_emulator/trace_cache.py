"""The prompt cache by the rules under which traces are replayed: what was kept can be read up to the end of any of its blocks.

A trace tells blocks of tokens, no messages: whether a later request shares a beginning is known by the block, and where a mark
would have stood is not. Tokens are those of the texts alone, so that they are those of the trace.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from aigen_emulator.answers import BYTES_PER_TOKEN, Question
from aigen_emulator.prompt_cache import LONG_TTL_S, SHORT_TTL_S, CacheUse, MarkedPromptCache, shortest_prefix


@dataclass(slots=True)
class _Block:
    """A beginning that is kept: since when it can be read, when it was used last, and for how long it lives from then on."""

    written: float
    used: float
    ttl_s: int


class TraceCache(MarkedPromptCache):
    """Keeps every beginning up to the last mark; a request of a later moment reads the longest that it shares.

    Args:
        now: Seconds that never go back.
        max_prefixes: How many are remembered; the longest unused goes first.
    """

    def __init__(self, now: Callable[[], float], *, max_prefixes: int = 1_000_000) -> None:
        super().__init__(now, max_prefixes=max_prefixes)
        self._blocks: OrderedDict[bytes, _Block] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def look(self, question: Question, *, owner: str) -> CacheUse:
        """Return what a request reads and writes; both are done at once, since requests of one moment never share."""
        marks = {mark.prompt_bytes: mark.ttl_s for mark in question.prefix_marks}
        if not marks:
            return CacheUse()
        tokens, names = block_tokens(question), _names(question, owner)
        shortest, now, last = shortest_prefix(question.model), self._now(), max(marks)
        count = sum(end <= last for end in question.block_ends)
        read = next((number for number, name in enumerate(names[:count]) if not self._readable(name, now)), count)
        if not read or tokens[read - 1] < shortest:
            read = 0
        if tokens[count - 1] < shortest:
            return CacheUse()
        written = {SHORT_TTL_S: 0, LONG_TTL_S: 0}
        for number in range(count):
            end = question.block_ends[number]
            if number < read:
                self._blocks[names[number]].used = now
            else:
                ttl_s = next(ttl for place, ttl in sorted(marks.items()) if end <= place)
                written[ttl_s] += tokens[number] - (tokens[number - 1] if number else 0)
                self._blocks[names[number]] = self._write(names[number], now, ttl_s)
            self._blocks.move_to_end(names[number])
        while len(self._blocks) > self._max_prefixes:
            self._blocks.popitem(last=False)
        read_tokens = tokens[read - 1] if read else 0
        return CacheUse(read=read_tokens, written_5m=written[SHORT_TTL_S], written_1h=written[LONG_TTL_S])

    def _write(self, name: bytes, now: float, ttl_s: int) -> _Block:
        """Return a block as it is once written; one that is kept already stays readable, and for the longer time of both."""
        block = self._blocks.get(name)
        if block is None or now - block.used > block.ttl_s:
            return _Block(now, now, ttl_s)
        return _Block(block.written, now, max(block.ttl_s, ttl_s))

    def _readable(self, name: bytes, now: float) -> bool:
        block = self._blocks.get(name)
        return block is not None and block.written < now and now - block.used <= block.ttl_s


def block_tokens(question: Question) -> list[int]:
    """Return the tokens up to the end of each block, of its texts alone: between two of them the prompt has a byte more."""
    return [-(-(end - number) // BYTES_PER_TOKEN) for number, end in enumerate(question.block_ends)]


def _names(question: Question, owner: str) -> list[bytes]:
    data = question.prompt.encode("utf-8", "surrogatepass")
    digest, done, names = hashlib.sha256(owner.encode() + b"\0"), 0, []
    for end in question.block_ends:
        digest.update(data[done:end])
        done = end
        names.append(digest.copy().digest())
    return names
