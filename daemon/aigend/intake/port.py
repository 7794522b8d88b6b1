"""What the intake needs of a source of work, and of those who know how requests and results are spelled.

A source hands out each piece of work at least once; what makes it exactly one charge is its id, which is the same whenever it comes
again. So a source may forget what it handed out, but never change an id, and never lose work that was not acknowledged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aigend.completion.batch import Item
from aigend.completion.call import Reply
from aigend.types import Caller


class SourceFault(Exception):  # noqa: N818 - names what happened
    """A source can't do now what it was asked; asking again later may help. The text is for the log, without what the work says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One piece of work, as a source hands it out."""

    id: str  # 1 to 128 printable characters; its request id where it names none itself
    body: bytes = field(repr=False)  # what it asks is nobody else's
    about: Mapping[str, int] = field(default_factory=dict)  # what the source wants to stand in the result


class WorkSource(Protocol):
    """Hands out work and takes results."""

    @property
    def waiting(self) -> int:
        """Pieces of work in hand that are not acknowledged."""
        ...

    async def open(self) -> None:
        """Make ready; what an earlier life handed out and did not see acknowledged is handed out again.

        Raises:
            StorageRefused: It can't be used at all.
        """
        ...

    async def receive(self, most: int) -> Sequence[Delivery]:
        """Return one to `most` pieces of work, each once in a life; wait until there is one.

        Raises:
            SourceFault: It can't be read now.
        """
        ...

    async def deliver(self, delivery: Delivery, result: bytes) -> None:
        """Keep a result; it is durable when this returns. Of several for one piece of work the first counts.

        Raises:
            SourceFault: It was not kept.
        """
        ...

    async def acknowledge(self, delivery: Delivery) -> None:
        """Let go of work whose result was delivered; it is not handed out again, in this life or another.

        Raises:
            SourceFault: It may be handed out again.
        """
        ...

    async def close(self) -> None:
        """Finish what is being written and stop; work that was not acknowledged comes again in the next life."""
        ...


class WorkCodec(Protocol):
    """Reads requests and spells results; `rpc/` implements it."""

    def read(self, body: bytes, request_id: str) -> tuple[Caller, Item]:
        """Return whose call a piece of work is, and its request or why it is none; `request_id` holds where it names no other."""
        ...

    def spell(self, request_id: str, end: Reply | BaseException, about: Mapping[str, int]) -> bytes:
        """Return what came of a piece of work, as one line without its end."""
        ...
