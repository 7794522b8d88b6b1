"""A provider's prompt cache: prompts that begin alike are billed partly as cached."""

import hashlib
from collections import OrderedDict

from aigen_emulator.answers import BYTES_PER_TOKEN

BLOCK_TOKENS = 128
SHORTEST_TOKENS = 1_024
_BLOCK_BYTES = BLOCK_TOKENS * BYTES_PER_TOKEN


class PromptCache:
    """Remembers prefixes in blocks of 128 tokens, from 1,024 tokens on, the latest `max_blocks` of them.

    Source:
        Block and minimum: OpenAI's prompt caching guide, read 2026-11.
    """

    def __init__(self, *, max_blocks: int = 100_000) -> None:
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self._max_blocks = max_blocks

    def cached_tokens(self, prompt: str, *, owner: str) -> int:
        """Return how many tokens of the prompt were seen before as a prefix, and remember the prompt.

        Args:
            prompt: All text of the request, in order.
            owner: Provider and model; prefixes of different owners never meet.
        """
        data = prompt.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(owner.encode() + b"\0")
        known, unbroken = 0, True
        for block in range(len(data) // _BLOCK_BYTES):
            digest.update(data[block * _BLOCK_BYTES : (block + 1) * _BLOCK_BYTES])
            name = digest.digest()
            unbroken = unbroken and name in self._blocks
            known = block + 1 if unbroken else known
            self._blocks[name] = None
            self._blocks.move_to_end(name)
        while len(self._blocks) > self._max_blocks:
            self._blocks.popitem(last=False)
        tokens = known * BLOCK_TOKENS
        return tokens if tokens >= SHORTEST_TOKENS else 0
