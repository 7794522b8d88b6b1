"""Many requests in one call: concurrent, answered in request order, each with its own end."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence

from aigend.completion.admission import check_open
from aigend.completion.call import Reply
from aigend.completion.engine import CompletionEngine
from aigend.errors import DomainError
from aigend.scheduling.dispatch.siblings import Siblings, stand_aside
from aigend.types import Caller, CompletionRequest, Lane

Item = CompletionRequest | DomainError  # a request that could not be read takes its place as its error


async def complete_many(engine: CompletionEngine, items: Sequence[Item], callers: Sequence[Caller]) -> list[Reply | BaseException]:
    """Return one reply or error for each item, in order.

    Args:
        engine: Answers each request; its limits bound how many are under way.
        items: The requests.
        callers: Whose call each item is: the batch's caller with the request id `<id>/<i>` and the item's own digest.

    Raises:
        DomainError: DRAINING, for the batch as a whole, so that its caller may send it to the next daemon.
    """
    check_open(draining=engine.draining)
    siblings = Siblings(len(items))  # those that ask the same provider leave together

    async def one(item: Item, caller: Caller) -> Reply:
        with siblings.next_one():
            if isinstance(item, DomainError):
                raise item
            if item.lane is Lane.DEFERRED:
                stand_aside()  # it goes its own way
            return await engine.complete(item, caller)

    return await asyncio.gather(*(one(item, caller) for item, caller in zip(items, callers, strict=True)), return_exceptions=True)


def item_caller(caller: Caller, index: int, digest_of: Callable[[], bytes], wire_of: Callable[[], bytes]) -> Caller:
    """Return whose call the item at `index` of a batch is."""
    return dataclasses.replace(caller, request_id=f"{caller.request_id}/{index}", digest_of=digest_of, wire_of=wire_of)
