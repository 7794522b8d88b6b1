"""What is shown of batch jobs: tables, and how far one is in a line."""

from collections.abc import Iterable, Sequence

import aigen
from rich.console import RenderableType

from aigenctl.figures import NONE, UNKNOWN, count, counted, moment, usd
from aigenctl.render import Column, fact_list, grid, harmless, panel

SHOWN_CHARACTERS = 60  # of an answer in a table


def jobs(found: Sequence[aigen.BatchJob], *, more: bool) -> RenderableType:
    """Return one row a job, newest first."""
    columns = [Column("Id"), Column("State"), Column("Created")]
    columns += [
        Column(title, right=True) for title in ("Requests", "Waiting", "At providers", "Answered", "Failed", "Cost", "Saved")
    ]
    rest = [fact_list([("", "there are more; --limit shows them")])] if more else []
    return panel("Batch jobs", grid(columns, (_row(job) for job in found)), *rest)


def job(found: aigen.BatchJob) -> RenderableType:
    """Return one job."""
    facts = [
        ("Id", found.id),
        ("State", found.state or UNKNOWN),
        ("Created", moment(found.create_time)),
        ("Ended", moment(found.end_time) if found.end_time else NONE),
        ("Complete by", moment(found.complete_by) if found.complete_by else NONE),
        ("Requests", count(found.item_count)),
        ("Waiting", count(found.waiting_count)),
        ("At providers", count(found.submitted_count)),
        ("Answered", count(found.answered_count)),
        ("Failed", count(found.failed_count)),
        ("Cost", usd(found.cost_usd_nanos)),
        ("Saved by the batch price", usd(found.saved_usd_nanos)),
        ("Session", found.session or NONE),
        ("Task", found.task or NONE),
        ("Labels", ", ".join(f"{key}={value}" for key, value in sorted(found.labels.items())) or NONE),
    ]
    return panel("Batch job", fact_list(facts))


def results(found: Iterable[aigen.BatchJobResult]) -> RenderableType:
    """Return one row a result."""
    columns = [Column("Index", right=True), Column("Request id"), Column("Cost", right=True), Column("Result")]
    return panel("Results", grid(columns, (_result_row(result) for result in found)))


def progress(found: aigen.BatchJob) -> str:
    """Return how far a job is, in a line."""
    ended = f"{count(found.ended_count)} of {counted(found.item_count, 'request')} ended"
    failed = f", {count(found.failed_count)} without an answer" if found.failed_count else ""
    return harmless(f"{found.id}: {ended}{failed}, {usd(found.cost_usd_nanos)} spent, {usd(found.saved_usd_nanos)} saved")


def _row(job: aigen.BatchJob) -> list[str]:
    counts = (job.item_count, job.waiting_count, job.submitted_count, job.answered_count, job.failed_count)
    money = (usd(job.cost_usd_nanos), usd(job.saved_usd_nanos))
    return [job.id, job.state or UNKNOWN, moment(job.create_time), *(count(number) for number in counts), *money]


def _result_row(result: aigen.BatchJobResult) -> list[str]:
    cost = NONE if result.completion is None else usd(result.completion.cost_usd_nanos)
    text = str(result.error) if result.completion is None else result.completion.text
    shown = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
    return [str(result.index), result.request_id, cost, shown]
