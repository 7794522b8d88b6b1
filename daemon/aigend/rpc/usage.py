"""UsageService: sums and charges out of the ledger."""

from collections.abc import Callable, Mapping

from aigen.v1 import completion_pb2
from aigen.v1 import usage_pb2 as pb
from google.protobuf.message import Message

from aigend.clock import Clock
from aigend.completion.snapshot import Snapshot
from aigend.errors import invalid
from aigend.ledger.entries import AttemptState
from aigend.ledger.entries_store import EntriesQuery, LedgerEntry, list_entries
from aigend.ledger.ledger import Ledger
from aigend.ledger.statistics.query import Dimension, Period, StatsQuery, UsageFilter, stats_query
from aigend.ledger.statistics.stats import Percentiles, Stats, StatsRow, Totals, compute
from aigend.rpc.answer_codec import pack_usage
from aigend.rpc.caller import LOCAL_SCOPE
from aigend.rpc.enums import ATTEMPT_STATE, BASIS, CAUSE, OUTCOME, EnumPair, Word
from aigend.rpc.times import moment_of, timestamp
from aigend.types import SavingsCause

PERIOD = EnumPair(Period, pb.Period.DESCRIPTOR, "PERIOD")
GROUP_BY = EnumPair(Dimension, pb.GroupBy.DESCRIPTOR, "GROUP_BY")


class UsageServicer:
    """Reads the ledger.

    Args:
        ledger: The usage ledger.
        snapshot: Returns the settings in force, for time zone and first day of the week.
        clock: Says what today is.
    """

    def __init__(self, ledger: Ledger, snapshot: Callable[[], Snapshot], *, clock: Clock) -> None:
        self._ledger = ledger
        self._snapshot = snapshot
        self._clock = clock

    async def get_stats(self, request: pb.GetStatsRequest) -> pb.GetStatsResponse:
        """Sum up calls, tokens, cost and savings."""
        return _pack_stats(await self._stats(self._query(request)))

    async def list_ledger_entries(self, request: pb.ListLedgerEntriesRequest) -> pb.ListLedgerEntriesResponse:
        """List charges, newest first."""
        query = _entries_query(request)
        page = await self._ledger.read(lambda connection: list_entries(connection, query))
        return pb.ListLedgerEntriesResponse(entries=[pack_entry(e) for e in page.entries], next_page_token=page.next_page_token)

    async def _stats(self, query: StatsQuery) -> Stats:
        return await self._ledger.read(lambda connection: compute(connection, query))

    def _query(self, request: pb.GetStatsRequest) -> StatsQuery:
        settings = self._snapshot().settings
        return stats_query(
            scope=LOCAL_SCOPE,
            now=self._clock.time(),
            period=PERIOD.unpack(request.period, "period"),
            start=optional_moment(request, "start_time"),
            end=optional_moment(request, "end_time"),
            time_zone=request.time_zone or settings.time_zone,
            week_start=settings.week_start,
            group_by=[given(GROUP_BY, number, f"group_by[{index}]") for index, number in enumerate(request.group_by)],
            label_key=request.label_key,
            usage_filter=unpack_filter(request.filter),
        )


def given(pair: EnumPair[Word], number: int, field: str) -> Word:
    """Return the word of a number that must be set."""
    word = pair.unpack(number, field)
    if word is None:
        raise invalid(field, "unset", pair.allowed)
    return word


def optional_moment(request: Message, field: str) -> float | None:
    """Return a time that may be unset, wall clock."""
    if not request.HasField(field):
        return None
    return moment_of(field, getattr(request, field))


def unpack_filter(message: pb.UsageFilter) -> UsageFilter:
    """Return which calls are meant."""
    return UsageFilter(
        provider=message.provider,
        model=message.model,
        agent=message.agent,
        service=message.service,
        session=message.session,
        phase=message.phase,
        task=message.task,
        labels=dict(message.labels),
    )


def _entries_query(request: pb.ListLedgerEntriesRequest) -> EntriesQuery:
    return EntriesQuery(
        scope=LOCAL_SCOPE,
        filter=unpack_filter(request.filter),
        start=optional_moment(request, "start_time"),
        end=optional_moment(request, "end_time"),
        states=tuple(given(ATTEMPT_STATE, number, f"states[{index}]") for index, number in enumerate(request.states)),
        request_id=request.request_id,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def _pack_stats(stats: Stats) -> pb.GetStatsResponse:
    return pb.GetStatsResponse(
        rows=[pack_row(row) for row in stats.rows],
        totals=pack_totals(stats.totals),
        start_time=None if stats.start is None else timestamp(stats.start),
        end_time=timestamp(stats.end),
        time_zone=stats.time_zone,
    )


def pack_row(row: StatsRow) -> pb.StatsRow:
    """Return the message of one group."""
    return pb.StatsRow(group=row.group, totals=pack_totals(row.totals))


def pack_totals(totals: Totals) -> pb.UsageTotals:
    """Return the message of sums."""
    return pb.UsageTotals(
        call_count=totals.call_count,
        hit_count=totals.hit_count,
        miss_count=totals.miss_count,
        coalesced_count=totals.coalesced_count,
        bypass_count=totals.bypass_count,
        refresh_count=totals.refresh_count,
        replay_count=totals.replay_count,
        unknown_count=totals.unknown_count,
        released_count=totals.released_count,
        unpriced_count=totals.unpriced_count,
        usage=pack_usage(totals.usage),
        cost_usd_nanos=totals.cost_nanos,
        estimated_cost_usd_nanos=totals.estimated_nanos,
        unknown_cost_usd_nanos=totals.unknown_nanos,
        savings=[
            completion_pb2.Savings(cause=CAUSE.pack(saving.cause), call_count=saving.call_count, saved_usd_nanos=saving.saved_nanos)
            for saving in totals.savings
        ],
        latency=None if totals.latency is None else _pack_latency(totals.latency),
        mean_hit_latency_us=totals.mean_hit_latency_us,
    )


def _pack_latency(latency: Percentiles) -> pb.LatencyPercentiles:
    return pb.LatencyPercentiles(p50_us=latency.p50_us, p90_us=latency.p90_us, p99_us=latency.p99_us)


def pack_entry(entry: LedgerEntry) -> pb.LedgerEntry:
    """Return the message of one charge."""
    return pb.LedgerEntry(
        id=entry.id,
        request_id=entry.request_id,
        attempt_number=entry.attempt_number,
        state=ATTEMPT_STATE.pack(entry.state),
        provider=entry.provider,
        model=entry.model,
        resolved_model=entry.resolved_model,
        agent=entry.agent,
        service=entry.service,
        session=entry.session,
        phase=entry.phase,
        task=entry.task,
        labels=entry.labels,
        cache_outcome=OUTCOME.pack(entry.outcome),
        usage=None if entry.usage is None else pack_usage(entry.usage),
        provider_usage_json=entry.provider_usage_json,
        reserved_usd_nanos=entry.reserved_nanos,
        cost_usd_nanos=entry.cost.nanos,
        cost_basis=BASIS.pack(entry.cost.basis) if entry.state is AttemptState.SETTLED else None,
        price_entry_id=entry.cost.price_entry_id,
        flags=entry.flags,
        create_time=timestamp(entry.create_time),
        update_time=timestamp(entry.update_time),
        provider_us=entry.provider_us,
        savings=pack_savings(entry.savings),
    )


def pack_savings(savings: Mapping[SavingsCause, int]) -> list[completion_pb2.Savings]:
    """Return the messages of what one call saved."""
    return [
        completion_pb2.Savings(cause=CAUSE.pack(cause), call_count=1, saved_usd_nanos=nanos) for cause, nanos in savings.items()
    ]
