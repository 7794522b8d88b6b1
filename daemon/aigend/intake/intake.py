"""The pump between a source of work and the spine: bounded, patient with refusals that pass, and safe to kill at any moment.

Each piece of work is asked of the spine under its own request id and acknowledged only once its result is durable. Killed in
between, it comes again under the same id, and the ledger answers with what was paid for then.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog

from aigend.clock import Clock
from aigend.completion.call import Reply
from aigend.config import InboxSettings
from aigend.errors import DomainError, Reason
from aigend.intake.port import Delivery, SourceFault, WorkCodec, WorkSource
from aigend.types import Caller, CompletionRequest

AT_ONCE = 100  # pieces of work received at once
ANSWERED = ""
LATER = frozenset(
    (
        Reason.BUDGET_EXCEEDED,
        Reason.BUDGET_PAUSED,
        Reason.OVERLOADED,
        Reason.RATE_LIMITED,
        Reason.STORAGE_FULL,
        Reason.STORAGE_DAMAGED,
    )
)  # nothing was charged, and waiting may help; every other reason is a result
_log = structlog.get_logger("aigend.intake")

Complete = Callable[[CompletionRequest, Caller], Awaitable[Reply]]


class Intake:
    """Takes work from a source, asks for its answers, and hands the results back.

    Args:
        source: Where work comes from and results go.
        complete: Answers one request; the spine's own door.
        codec: Reads requests and spells results.
        settings: Returns the settings in force.
        clock: Tells the time.

    Attributes:
        ended: How many pieces of work ended since the start, by the reason of their error; answers by an empty text.
    """

    def __init__(
        self,
        source: WorkSource,
        *,
        complete: Complete,
        codec: WorkCodec,
        settings: Callable[[], InboxSettings],
        clock: Clock,
    ) -> None:
        self.ended: Counter[str] = Counter()
        self._source = source
        self._complete = complete
        self._codec = codec
        self._settings = settings
        self._clock = clock
        self._under_way: dict[asyncio.Task[None], int] = {}  # bytes of each
        self._size = 0
        self._held_until = 0.0  # monotonic clock; no more work is received before
        self._room_made = asyncio.Event()
        self._feeding: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Pieces of work without a result that the source has in hand."""
        return self._source.waiting

    @property
    def under_way(self) -> int:
        """Pieces of work that are being answered."""
        return len(self._under_way)

    async def start(self) -> None:
        """Go on with what earlier lives left, and take what comes.

        Raises:
            StorageRefused: The source can't be used.
        """
        await self._source.open()
        self._feeding = asyncio.create_task(self._feed(), name="intake")

    def drain(self) -> None:
        """Take no more work; what is left comes again in the next life."""
        if self._feeding is not None:
            self._feeding.cancel()

    async def close(self) -> None:
        """Stop."""
        self.drain()
        tasks = [*self._under_way, *([self._feeding] if self._feeding is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._source.close()

    async def _feed(self) -> None:
        while True:
            room = await self._room()
            try:
                deliveries = await self._source.receive(room)
            except SourceFault as fault:
                _log.warning("intake_source_failed", text=str(fault))
                await self._clock.sleep(self._settings().retry_delay_s)
                continue
            for delivery in deliveries:
                self._begin(delivery)
                await asyncio.sleep(0)  # other calls have their turns in between

    async def _room(self) -> int:
        """Return how much may be received, once there is room and nothing says to wait."""
        while True:
            settings = self._settings()
            room = settings.max_in_flight - len(self._under_way)
            hold_s = self._held_until - self._clock.monotonic()
            if room <= 0 or self._size >= settings.max_size_bytes:
                self._room_made.clear()
                await self._room_made.wait()
            elif hold_s > 0:
                await self._clock.sleep(hold_s)
            else:
                return min(room, AT_ONCE)

    def _begin(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._work(delivery))
        self._under_way[task] = len(delivery.body)
        self._size += len(delivery.body)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._size -= self._under_way.pop(task)
        self._room_made.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("intake_work_dropped", exc_info=error)

    async def _work(self, delivery: Delivery) -> None:
        """Take one piece of work to its result; without one it comes again in the next life."""
        caller, item = self._codec.read(delivery.body, delivery.id)
        end = item if isinstance(item, DomainError) else await self._answer(item, caller)
        if end is None:
            return
        await self._hand_over(delivery, self._codec.spell(caller.request_id, end, delivery.about))
        self.ended[end.reason if isinstance(end, DomainError) else ANSWERED if isinstance(end, Reply) else Reason.DAEMON_FAULT] += 1

    async def _answer(self, request: CompletionRequest, caller: Caller) -> Reply | Exception | None:
        """Return the answer or the error that counts; None where the daemon stops."""
        delay_s, refused_at = self._settings().retry_delay_s, None
        while True:
            try:
                return await self._complete(request, caller)
            except DomainError as error:
                if error.reason is Reason.DRAINING:
                    return None
                refused_at = self._clock.monotonic() if refused_at is None else refused_at
                if error.reason not in LATER or self._too_late(request, refused_at):
                    return error
                pause_s = max(delay_s, error.retry_after_s or 0.0)
                self._hold(pause_s, error.reason)
            except Exception as defect:  # noqa: BLE001 - it is this work's result; the codec puts its traceback into the log
                return defect
            await self._clock.sleep(pause_s)
            delay_s = min(delay_s * 2, self._settings().max_retry_delay_s)

    def _too_late(self, request: CompletionRequest, refused_at: float) -> bool:
        """Return whether a refusal that may pass counts as the result, of a request that was first refused so long ago."""
        by = request.complete_by
        waited_s = self._clock.monotonic() - refused_at
        return waited_s >= self._settings().patience_s or (by is not None and by <= self._clock.time())

    def _hold(self, pause_s: float, reason: Reason) -> None:
        """Receive nothing for a while: what comes would be refused as well."""
        now = self._clock.monotonic()
        if self._held_until <= now:
            _log.warning("intake_waits", reason=reason, pause_s=round(pause_s, 3))
        self._held_until = max(self._held_until, now + pause_s)

    async def _hand_over(self, delivery: Delivery, result: bytes) -> None:
        """Deliver and acknowledge, tried again until it is done: the result may have been paid for."""
        delay_s = self._settings().retry_delay_s
        while True:
            try:
                await self._source.deliver(delivery, result)
                await self._source.acknowledge(delivery)
            except SourceFault as fault:
                _log.warning("intake_source_failed", text=str(fault))
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, self._settings().max_retry_delay_s)
            else:
                return
