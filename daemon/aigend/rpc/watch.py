"""WatchUsage: a live view of what calls cost, once an interval."""

from collections.abc import AsyncGenerator, Callable

from aigen.v1 import usage_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from aigend.clock import Clock
from aigend.errors import invalid
from aigend.ledger.ledger import Ledger
from aigend.ledger.watching import EndedCall, Minute, UsageWatch, View
from aigend.rpc.caller import LOCAL_SCOPE
from aigend.rpc.daemon import pack_budget
from aigend.rpc.enums import ATTEMPT_STATE, OUTCOME
from aigend.rpc.serving import Context
from aigend.rpc.times import timestamp

USUAL_INTERVAL_S = 1.0
SHORTEST_S, LONGEST_S = 0.2, 60.0


class WatchServicer:
    """Shows what is happening.

    Args:
        ledger: The usage ledger.
        load: Returns how many provider calls are under way and how many wait.
        draining: Whether the daemon is about to stop, so that watchers are let go.
        clock: Tells the time and waits.
    """

    def __init__(self, ledger: Ledger, *, load: Callable[[], tuple[int, int]], draining: Callable[[], bool], clock: Clock) -> None:
        self._ledger = ledger
        self._load = load
        self._draining = draining
        self._clock = clock

    async def watch_usage(self, data: bytes, _: Context) -> AsyncGenerator[bytes, None]:
        """Tell once an interval how it stands."""
        interval_s = _interval_s(pb.WatchUsageRequest.FromString(data))
        watch = UsageWatch(self._ledger, scope=LOCAL_SCOPE, clock=self._clock)
        while not self._draining():
            yield self._pack(await watch.view()).SerializeToString()
            await self._clock.sleep(interval_s)

    def _pack(self, view: View) -> pb.WatchUsageResponse:
        in_flight, queued = self._load()
        return pb.WatchUsageResponse(
            time=timestamp(view.time),
            minutes=[_pack_minute(minute) for minute in view.minutes],
            in_flight_count=in_flight,
            queued_count=queued,
            budgets=[pack_budget(state) for state in self._ledger.budget_status(view.time)],
            calls=[_pack_call(call) for call in view.calls],
        )


def _interval_s(request: pb.WatchUsageRequest) -> float:
    if not request.HasField("interval"):
        return USUAL_INTERVAL_S
    span: Duration = request.interval
    seconds = span.seconds + span.nanos / 1e9
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise invalid("interval", f"{seconds} s", "200 ms to 1 minute")
    return seconds


def _pack_minute(minute: Minute) -> pb.UsageMinute:
    return pb.UsageMinute(
        start_time=timestamp(minute.start * 60),
        paid_count=minute.paid,
        free_count=minute.free,
        spent_usd_nanos=minute.spent_nanos,
    )


def _pack_call(call: EndedCall) -> pb.WatchedCall:
    return pb.WatchedCall(
        time=timestamp(call.time),
        provider=call.provider,
        model=call.model,
        service=call.service,
        session=call.session,
        cache_outcome=OUTCOME.pack(call.outcome),
        state=None if call.state is None else ATTEMPT_STATE.pack(call.state),
        cost_usd_nanos=call.cost_nanos,
        total_us=call.total_us,
        ledger_entry_id=call.entry_id,
        corrected=call.corrected,
    )
