"""UsageService, its half that tells all: the ledger as a stream, and reports."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial

from aigen.v1 import usage_pb2 as pb

from aigend.clock import Clock
from aigend.completion.snapshot import Snapshot
from aigend.ledger.archives.rows import files_of_range
from aigend.ledger.entries_store import EntriesQuery, list_entries
from aigend.ledger.ledger import Ledger
from aigend.ledger.report import Report, compute_report, report_query
from aigend.rpc.caller import LOCAL_SCOPE
from aigend.rpc.daemon import pack_budget
from aigend.rpc.enums import ATTEMPT_STATE
from aigend.rpc.serving import Context
from aigend.rpc.times import timestamp
from aigend.rpc.usage import GROUP_BY, given, optional_moment, pack_entry, pack_row, pack_totals, unpack_filter

EXPORTED_AT_ONCE = 500  # entries in a message: about 200 kB


class ReportServicer:
    """Tells what is in the ledger, at length or summed up.

    Args:
        ledger: The usage ledger.
        snapshot: Returns the settings in force, for the time zone.
        clock: Says what now is.
    """

    def __init__(self, ledger: Ledger, snapshot: Callable[[], Snapshot], *, clock: Clock) -> None:
        self._ledger = ledger
        self._snapshot = snapshot
        self._clock = clock

    async def export_ledger(self, data: bytes, _: Context) -> AsyncGenerator[bytes, None]:
        """Stream charges, newest first; the next page is read when the last one was taken."""
        query = _export_query(pb.ExportLedgerRequest.FromString(data))
        while True:
            page = await self._ledger.read(partial(list_entries, query=query), fresh=False)
            yield pb.ExportLedgerResponse(entries=[pack_entry(entry) for entry in page.entries]).SerializeToString()
            if not page.next_page_token:
                return
            query = replace(query, page_token=page.next_page_token)

    async def generate_report(self, request: pb.GenerateReportRequest) -> pb.GenerateReportResponse:
        """Sum up a day, a month or a session."""
        now = self._clock.time()
        query = report_query(
            scope=LOCAL_SCOPE,
            now=now,
            date=request.date,
            month=request.month,
            session=request.session,
            time_zone=request.time_zone or self._snapshot().settings.time_zone,
            entry_count=request.entry_count,
        )
        report = await self._ledger.read(partial(compute_report, query=query))
        response = _pack_report(report)
        span = report.summary
        files = await self._ledger.read(partial(files_of_range, start=span.start, end=span.end), fresh=False)
        response.archive_files.extend(files)
        response.budgets.extend(pack_budget(state) for state in self._ledger.budget_status(now))
        return response


def _export_query(request: pb.ExportLedgerRequest) -> EntriesQuery:
    return EntriesQuery(
        scope=LOCAL_SCOPE,
        filter=unpack_filter(request.filter),
        start=optional_moment(request, "start_time"),
        end=optional_moment(request, "end_time"),
        states=tuple(given(ATTEMPT_STATE, number, f"states[{index}]") for index, number in enumerate(request.states)),
        page_size=EXPORTED_AT_ONCE,
    )


def _pack_report(report: Report) -> pb.GenerateReportResponse:
    summary = report.summary
    return pb.GenerateReportResponse(
        start_time=None if summary.start is None else timestamp(summary.start),
        end_time=timestamp(summary.end),
        time_zone=summary.time_zone,
        totals=pack_totals(summary.totals),
        sections=[
            pb.ReportSection(group_by=GROUP_BY.pack(by), rows=[pack_row(row) for row in rows]) for by, rows in report.sections
        ],
        dearest_entries=[pack_entry(entry) for entry in report.dearest],
        unknown_entries=[pack_entry(entry) for entry in report.unknown],
    )
