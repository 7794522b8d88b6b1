"""Exact counts of answers that cost nothing: hits, followers and replays."""

from aigend.clock import Clock
from aigend.completion.call import Call
from aigend.completion.ports import CallMeter
from aigend.ledger.entries import canonical_labels
from aigend.ledger.hits import HitCell, HitCounters, HitKey
from aigend.types import CacheOutcome, Route, SavingsCause

CAUSES = {CacheOutcome.HIT: SavingsCause.CACHE, CacheOutcome.COALESCED: SavingsCause.SINGLE_FLIGHT}


class Tally:
    """Counts free answers on their account.

    Args:
        hits: The ledger's counters.
        meter: Counts calls for telemetry.
        clock: Tells the time.
    """

    def __init__(self, *, hits: HitCounters, meter: CallMeter, clock: Clock) -> None:
        self._hits = hits
        self._meter = meter
        self._clock = clock

    def elapsed_us(self, call: Call) -> int:
        """Return the time since the call came in, in microseconds."""
        return int((self._clock.monotonic() - call.started) * 1e6)

    def cell(self, call: Call, route: Route, outcome: CacheOutcome) -> HitCell:
        """Return the counter for free answers of this call's account, route and outcome."""
        request, accounting = call.request, call.caller.accounting
        return self._hits.cell(
            HitKey(
                scope=call.caller.scope,
                service=request.service,
                session=accounting.session,
                phase=request.phase,
                task=accounting.task,
                labels=canonical_labels(accounting.labels),
                agent=request.agent,
                provider=route.provider,
                model=route.model,
                outcome=outcome,
                cause=CAUSES.get(outcome, ""),
            )
        )

    def count(self, call: Call, route: Route, outcome: CacheOutcome, *, saved_nanos: int | None) -> int:
        """Count one free answer and return how long it took, in microseconds."""
        total_us = self.elapsed_us(call)
        self.cell(call, route, outcome).add(self._clock.time(), saved_nanos, total_us)
        self._meter.count_call(outcome, total_us)
        return total_us
