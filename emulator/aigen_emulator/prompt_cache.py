"""Providers' prompt caches: those that keep every prefix by themselves, and those that keep the prefixes that are marked."""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aigen_emulator.answers import BYTES_PER_TOKEN, PrefixMark, Question

BLOCK_TOKENS = 128
SHORTEST_TOKENS = 1_024
SHORT_TTL_S, LONG_TTL_S = 300, 3_600
LOOKBACK = 20
_BLOCK_BYTES = BLOCK_TOKENS * BYTES_PER_TOKEN
_SHORTEST_OF = {  # tokens of the shortest prefix that a model keeps, where it is not SHORTEST_TOKENS
    "claude-fable-5": 512,
    "claude-opus-5": 512,
    "claude-opus-4-5": 4_096,
    "claude-opus-4-6": 4_096,
    "claude-opus-4-7": 4_096,
    "claude-haiku-4-5": 4_096,
}
_DATED = re.compile(r"-\d{8}$")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A prefix that is being written."""

    name: bytes
    ttl_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """What one request reads and writes; nothing of it is to be read by others before `MarkedPromptCache.begin`."""

    read: int = 0  # tokens
    written_5m: int = 0
    written_1h: int = 0
    stored: tuple[_Stored, ...] = ()


class PromptCache:
    """Keeps every prefix by itself, in blocks of 128 tokens, from 1,024 tokens on, for five minutes from its last use.

    Args:
        now: Seconds that never go back.
        max_blocks: How many blocks are remembered; the longest unused goes first.

    Source:
        Block, minimum and lifetime (5 to 10 minutes without use): OpenAI's prompt caching guide, read 2026-11. As for marked
        prefixes, nothing is to be read before the answer of the request that wrote it has begun.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, *, max_blocks: int = 100_000) -> None:
        self._now = now
        self._blocks: OrderedDict[bytes, float] = OrderedDict()  # digest -> end of life
        self._max_blocks = max_blocks

    def cached_tokens(self, prompt: str, *, owner: str) -> int:
        """Return how many tokens of the prompt were seen before as a prefix, and remember the prompt at once.

        Args:
            prompt: All text of the request, in order.
            owner: Provider and model; prefixes of different owners never meet.
        """
        use = self.look(prompt, owner=owner)
        self.begin(use)
        return use.read

    def look(self, prompt: str, *, owner: str) -> CacheUse:
        """Return what a request reads and is going to leave behind; what it reads lives on from now."""
        data, now = prompt.encode("utf-8", "surrogatepass"), self._now()
        digest = hashlib.sha256(owner.encode() + b"\0")
        known, unbroken, names = 0, True, []
        for block in range(len(data) // _BLOCK_BYTES):
            digest.update(data[block * _BLOCK_BYTES : (block + 1) * _BLOCK_BYTES])
            names.append(digest.digest())
            unbroken = unbroken and self._blocks.get(names[-1], now) > now
            known = block + 1 if unbroken else known
        tokens = known * BLOCK_TOKENS
        for name in names[:known]:
            self._keep(name, now)
        stored = tuple(_Stored(name, SHORT_TTL_S) for name in names[known:])
        return CacheUse(read=tokens if tokens >= SHORTEST_TOKENS else 0, stored=stored)

    def begin(self, use: CacheUse) -> None:
        """Let others read what a request left behind: its answer has begun."""
        now = self._now()
        for stored in use.stored:
            self._keep(stored.name, now)
        while len(self._blocks) > self._max_blocks:
            self._blocks.popitem(last=False)

    def _keep(self, name: bytes, now: float) -> None:
        self._blocks[name] = now + SHORT_TTL_S
        self._blocks.move_to_end(name)


class MarkedPromptCache:
    """Keeps the prefixes that end at marks, for 5 minutes or an hour from their last use.

    At each mark the longest known prefix is looked for, at the mark itself and at the ends of the blocks before it, 20 places in
    all. What lies between it and the last mark is written, each stretch for as long as the mark at its end says.

    Args:
        now: Seconds that never go back.
        max_prefixes: How many are remembered; the longest unused goes first.

    Source:
        Anthropic, "Prompt caching": breakpoints, look-back, lifetimes, minimum sizes, mixed lifetimes. Read 2026-11.
    """

    def __init__(self, now: Callable[[], float], *, max_prefixes: int = 100_000) -> None:
        self._now = now
        self._max_prefixes = max_prefixes
        self._prefixes: OrderedDict[bytes, tuple[float, int]] = OrderedDict()  # digest -> end of life, lifetime

    def __len__(self) -> int:
        return len(self._prefixes)

    def look(self, question: Question, *, owner: str) -> CacheUse:
        """Return what a request reads and is going to write; what it reads lives on from now.

        Args:
            question: The request, with its marks and the ends of its blocks.
            owner: Provider and model; prefixes of different owners never meet.
        """
        shortest = shortest_prefix(question.model)
        marks = [mark for mark in question.prefix_marks if tokens_of(mark.prompt_bytes) >= shortest]
        if not marks:
            return CacheUse()
        names = _names(question, owner)
        read_bytes = max((end for mark in marks for end in self._known(question, mark, names, shortest)), default=0)
        for mark in marks:
            if mark.prompt_bytes <= read_bytes:
                self._refresh(names[mark.prompt_bytes])
        if read_bytes:
            self._refresh(names[read_bytes])
        return _written([mark for mark in marks if mark.prompt_bytes > read_bytes], read_bytes, names)

    def begin(self, use: CacheUse) -> None:
        """Let others read what a request wrote: its answer has begun."""
        now = self._now()
        for stored in use.stored:
            self._prefixes[stored.name] = (now + stored.ttl_s, stored.ttl_s)
            self._prefixes.move_to_end(stored.name)
        while len(self._prefixes) > self._max_prefixes:
            self._prefixes.popitem(last=False)

    def _known(self, question: Question, mark: PrefixMark, names: dict[int, bytes], shortest: int) -> Iterator[int]:
        """Yield the ends of known prefixes within the mark's look-back."""
        ends = [end for end in question.block_ends if end <= mark.prompt_bytes][-LOOKBACK:]
        now = self._now()
        for end in ends:
            life = self._prefixes.get(names[end])
            if life is not None and life[0] > now and tokens_of(end) >= shortest:
                yield end

    def _refresh(self, name: bytes) -> None:
        life = self._prefixes.get(name)
        now = self._now()
        if life is not None and life[0] > now:
            self._prefixes[name] = (now + life[1], life[1])
            self._prefixes.move_to_end(name)


def shortest_prefix(model: str) -> int:
    """Return the tokens of the shortest prefix that a model keeps; a shorter one is passed over in silence.

    Example:
        >>> shortest_prefix("claude-haiku-4-5-20251001"), shortest_prefix("claude-sonnet-4-5")
        (4096, 1024)
    """
    return _SHORTEST_OF.get(_DATED.sub("", model), SHORTEST_TOKENS)


def tokens_of(size: int) -> int:
    """Return the tokens of that many bytes of a prompt."""
    return -(-size // BYTES_PER_TOKEN)


def _names(question: Question, owner: str) -> dict[int, bytes]:
    """Return the digest of the prefix at each end of a block and at each mark."""
    data = question.prompt.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(owner.encode() + b"\0")
    names: dict[int, bytes] = {}
    done = 0
    for end in sorted({*question.block_ends, *(mark.prompt_bytes for mark in question.prefix_marks)}):
        digest.update(data[done:end])
        done = end
        names[end] = digest.copy().digest()
    return names


def _written(marks: list[PrefixMark], read_bytes: int, names: dict[int, bytes]) -> CacheUse:
    written = {SHORT_TTL_S: 0, LONG_TTL_S: 0}
    done = read_bytes
    for mark in marks:
        written[mark.ttl_s] += tokens_of(mark.prompt_bytes) - tokens_of(done)
        done = mark.prompt_bytes
    stored = tuple(_Stored(names[mark.prompt_bytes], mark.ttl_s) for mark in marks)
    return CacheUse(read=tokens_of(read_bytes), written_5m=written[SHORT_TTL_S], written_1h=written[LONG_TTL_S], stored=stored)
