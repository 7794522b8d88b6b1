"""UsageService, its half that examines: the prompt-cache doctor, and what was archived."""

from collections.abc import Callable
from functools import partial

from aigen.v1 import usage_pb2 as pb

from aigend.clock import Clock
from aigend.completion.snapshot import Snapshot
from aigend.ledger.archives.rows import Archive, ArchiveState, archives, files_of_range
from aigend.ledger.ledger import Ledger
from aigend.ledger.prices.pricing import PriceEntry
from aigend.ledger.statistics.doctor import Diagnosis, diagnose, prefix_limit
from aigend.ledger.statistics.doctor_store import LONG_S, SHORT_S
from aigend.ledger.statistics.query import stats_query
from aigend.rpc.caller import LOCAL_SCOPE
from aigend.rpc.paging import page
from aigend.rpc.times import timestamp
from aigend.rpc.usage import PERIOD, optional_moment, unpack_filter
from aigend.scheduling.prompt_cache.decisions import Decisions
from aigend.types import Route


class DoctorServicer:
    """Examines the ledger.

    Args:
        ledger: The usage ledger.
        snapshot: Returns what is in force, for prices, models and the time zone.
        clock: Says what now is.
        decisions: What was decided about prefixes lately.
    """

    def __init__(self, ledger: Ledger, snapshot: Callable[[], Snapshot], *, clock: Clock, decisions: Decisions) -> None:
        self._ledger = ledger
        self._snapshot = snapshot
        self._clock = clock
        self._decisions = decisions

    async def diagnose_prompt_cache(self, request: pb.DiagnosePromptCacheRequest) -> pb.DiagnosePromptCacheResponse:
        """Say of each prefix what its writes cost and its reads saved."""
        snapshot, now = self._snapshot(), self._clock.time()
        limit = prefix_limit(request.prefix_count)
        query = stats_query(
            scope=LOCAL_SCOPE,
            now=now,
            period=PERIOD.unpack(request.period, "period"),
            start=optional_moment(request, "start_time"),
            end=optional_moment(request, "end_time"),
            time_zone=request.time_zone or snapshot.settings.time_zone,
            week_start=snapshot.settings.week_start,
            usage_filter=unpack_filter(request.filter),
        )
        await snapshot.prices.load()
        ask = partial(diagnose, query=query, limit=limit, price_of=self._price_of, minimum_of=self._minimum_of)
        found = await self._ledger.read(ask, fresh=False)
        files = await self._ledger.read(partial(files_of_range, start=query.start, end=query.end), fresh=False)
        totals = found.totals
        return pb.DiagnosePromptCacheResponse(
            prefixes=[self._pack(diagnosis) for diagnosis in found.prefixes],
            prefix_count=totals.prefix_count,
            never_read_count=totals.never_read_count,
            write_count=totals.write_count,
            written_tokens=totals.written_tokens,
            premium_usd_nanos=totals.premium_nanos,
            read_count=totals.read_count,
            read_tokens=totals.read_tokens,
            saved_usd_nanos=totals.saved_nanos,
            start_time=None if query.start is None else timestamp(query.start),
            end_time=timestamp(now if query.end is None else query.end),
            archive_files=files,
        )

    async def list_ledger_archives(self, request: pb.ListLedgerArchivesRequest) -> pb.ListLedgerArchivesResponse:
        """List the months that were archived, oldest first."""
        found = [one for one in await self._ledger.read(archives, fresh=False) if one.state in _WITH_FILE]
        listed, token = page(found, page_size=request.page_size, page_token=request.page_token)
        return pb.ListLedgerArchivesResponse(archives=[_pack_archive(archive) for archive in listed], next_page_token=token)

    def _price_of(self, route: Route, at: float) -> PriceEntry | None:
        snapshot = self._snapshot()
        return snapshot.prices.lookup(snapshot.priced_as(route), route.model, at)

    def _minimum_of(self, route: Route) -> int:
        models = self._snapshot().catalog.list(provider=route.provider)
        return next((model.min_cacheable_tokens for model in models if model.id == route.model), 0)

    def _pack(self, diagnosis: Diagnosis) -> pb.PromptCachePrefix:
        row = diagnosis.row
        return pb.PromptCachePrefix(
            **{name: getattr(row, name) for name in _SAME},
            last_request_id=row.request_id,
            last_time=timestamp(row.last_time),
            ttl_seconds=LONG_S if row.kept_long else SHORT_S,
            premium_usd_nanos=row.premium_nanos,
            saved_usd_nanos=row.saved_nanos,
            reads_needed="" if diagnosis.reads_needed is None else str(diagnosis.reads_needed),
            paid=diagnosis.paid,
            advice=diagnosis.advice,
            decision=self._decision(Route(row.provider, row.model), row.prefix),
        )

    def _decision(self, route: Route, prefix: str) -> str:
        """How it was decided last whether a prefix is marked; empty where nothing was lately."""
        row = self._decisions.of(LOCAL_SCOPE, prefix=prefix) if prefix else None
        return "" if row is None or Route(row.provider, row.model) != route else f"{row.decision}: {row.reason}"


_WITH_FILE = (ArchiveState.WRITTEN, ArchiveState.DONE)
_SAME = (
    *("prefix", "provider", "model", "service", "agent", "phase", "mark_count", "write_count", "written_tokens"),
    *("read_count", "read_tokens", "missed_count", "expired_count"),
)


def _pack_archive(archive: Archive) -> pb.LedgerArchive:
    return pb.LedgerArchive(
        month=archive.month,
        file=archive.file,
        done=archive.state is ArchiveState.DONE,
        operation_count=archive.operation_count,
        attempt_count=archive.attempt_count,
        journal_count=archive.journal_count,
        hit_count=archive.hit_count,
        cost_usd_nanos=archive.cost_nanos,
        size_bytes=archive.size_bytes,
        sha256=archive.sha256.hex(),
        create_time=timestamp(archive.create_us / 1e6),
    )
