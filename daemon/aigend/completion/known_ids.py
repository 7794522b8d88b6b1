"""A request id seen again: in flight → joined, settled → its reply, unknown → never a second call by itself."""

from collections.abc import Awaitable, Callable

from aigend.completion.call import AnswerFlight, Call, Reply
from aigend.completion.free_answers import FreeAnswers
from aigend.errors import DomainError, Reason
from aigend.ledger import replies
from aigend.ledger.entries import AttemptState, KnownOperation
from aigend.ledger.ledger import Ledger
from aigend.types import Lane

_WAITING = (AttemptState.RESERVED, AttemptState.SUBMITTED)


class KnownIds:
    """What became of request ids.

    Args:
        ledger: Remembers operations and their replies.
        free: Makes replies of what is there already.

    Attributes:
        on_fetch: Called with a deferred call whose reply is fetched.
    """

    def __init__(self, *, ledger: Ledger, free: FreeAnswers) -> None:
        self._ledger = ledger
        self._free = free
        self.on_fetch: Callable[[Call], Awaitable[None]] = _nothing
        self._under_way: dict[tuple[str, str], tuple[bytes, AnswerFlight]] = {}

    def begin(self, call: Call, flight: AnswerFlight) -> None:
        """Remember which flight works for this call's id."""
        self._under_way[call.id] = (call.caller.request_digest, flight)

    def end(self, call: Call, flight: AnswerFlight) -> None:
        """Forget the flight; from here on the ledger knows."""
        if self._under_way.get(call.id, (b"", None))[1] is flight:
            del self._under_way[call.id]

    def flight(self, call: Call) -> AnswerFlight | None:
        """Return the flight that already works for this call's id.

        Raises:
            DomainError: REQUEST_ID_REUSED where it works on another request.
        """
        digest, flight = self._under_way.get(call.id, (b"", None))
        if flight is not None and digest != call.caller.request_digest:
            raise self.reused(call)
        return flight

    async def answer(self, call: Call) -> Reply | None:
        """Return the kept reply of a settled operation; None where the call may go on.

        Raises:
            DomainError: REQUEST_ID_REUSED, OUTCOME_UNKNOWN or REPLY_GONE.
        """
        if call.id in self._under_way:
            return None
        known = self._ledger.known(*call.id)
        return None if known is None else await self.recall(call, known)

    async def recall(self, call: Call, known: KnownOperation) -> Reply | None:
        """Answer from what the ledger knows of this id; None where a new attempt is due.

        Raises:
            DomainError: REQUEST_ID_REUSED, OUTCOME_UNKNOWN or REPLY_GONE.
        """
        if known.request_digest != call.caller.request_digest:
            raise self.reused(call)
        if known.state in _WAITING:
            return None  # a batch line: the lane knows who waits for it
        if known.state is AttemptState.RELEASED or (known.state is AttemptState.UNKNOWN and call.caller.accounting.allow_repeat):
            return None
        if known.state is not AttemptState.SETTLED:
            raise DomainError(
                Reason.OUTCOME_UNKNOWN,
                f"an earlier call with request id {call.caller.request_id} may have been charged; "
                "set allow_repeat to pay for another, or use a new request id",
                request_id=call.caller.request_id,
                ledger_entry_id=known.entry_id,
            )
        response = await self._ledger.reply(*call.id)
        if response is None:
            raise DomainError(
                Reason.REPLY_GONE,
                f"the call with request id {call.caller.request_id} was answered and charged, but its reply is no longer kept",
                request_id=call.caller.request_id,
                ledger_entry_id=known.entry_id,
            )
        if call.request.lane is Lane.DEFERRED:  # fetched: from now on it is kept as long as others are
            await self.on_fetch(call)
        route = await self._ledger.read(lambda connection: replies.route_of(connection, known.entry_id), fresh=False)
        return self._free.replay(call, response, route=route)

    def reused(self, call: Call) -> DomainError:
        """Return the refusal of an id that stands for another request."""
        return DomainError(
            Reason.REQUEST_ID_REUSED,
            f"request id {call.caller.request_id} was used for another request; allowed: a new id for a new request",
            field="aigen-request-id",
            request_id=call.caller.request_id,
        )


async def _nothing(_: Call) -> None:
    """Take no note."""
