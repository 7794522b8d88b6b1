"""`aigenctl job`: requests that can wait, handed in as a file and answered at the providers' batch price."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Annotated, Any

import aigen
import typer

from aigenctl import connection, render, render_jobs
from aigenctl.columns import print_csv
from aigenctl.exits import Exit
from aigenctl.figures import exact_usd
from aigenctl.machine import as_csv, as_json, as_json_line
from aigenctl.options import (
    AccountLabelsOption,
    AccountSessionOption,
    AccountTaskOption,
    CsvOption,
    JsonOption,
    LimitOption,
    SocketOption,
    coming,
    filled,
    first,
    given,
    labels,
    one_form,
)
from aigenctl.request_lines import BadLineError, RequestFile, read_requests

app = typer.Typer(help="Hand in batch jobs, see how far they are, and fetch their results.", no_args_is_help=True)
BETWEEN_S = 1.0  # two looks at a job that is followed
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, each a request; - for standard input.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")]
IdOption = Annotated[str | None, typer.Option("--id", callback=filled, help="Id of the job, under which it is made once.")]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", callback=filled, help="Model of lines that name none.")]
AgentOption = Annotated[str | None, typer.Option("--agent", "-a", callback=filled, help="Agent of lines that name none.")]
ServiceOption = Annotated[
    str | None, typer.Option("--service", callback=filled, help="Service that asks, where a line names none.")
]
PhaseOption = Annotated[
    str | None, typer.Option("--phase", callback=filled, help="Phase of the pipeline, where a line names none.")
]
ByOption = Annotated[
    str | None,
    typer.Option("--complete-by", metavar="TIME", help="When all must be answered: ISO 8601, or an age from now such as 36h."),
]
RepeatOption = Annotated[bool, typer.Option("--allow-repeat", help="Pay again for ids whose outcome is unknown.")]
WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Stay until the last request has ended; 9 where one has no answer.")]


@app.command("submit")
def submit(
    ctx: typer.Context,
    file: FileArgument,
    *,
    job_id: IdOption = None,
    model: ModelOption = None,
    agent: AgentOption = None,
    service: ServiceOption = None,
    phase: PhaseOption = None,
    session: AccountSessionOption = None,
    task: AccountTaskOption = None,
    label: AccountLabelsOption = None,
    complete_by: ByOption = None,
    allow_repeat: RepeatOption = False,
    wait: WaitOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Hand in the requests of a file as one job; a line that can't be used is named, and nothing is handed in."""
    requests = _read(file)
    options = given(model=model, agent=agent, service=service, phase=phase, complete_by=coming(complete_by, "--complete-by"))
    account = given(task=task, labels=labels(label))
    with connection.daemon(ctx, socket, as_json=json_text) as client, client.session(session, **account):
        job = _hand_in(client, requests, options, job_id=job_id, allow_repeat=allow_repeat)
        if wait:
            job = _followed(client, job)
        _show(job, json_text=json_text)
    _end(failed=wait and job.failed_count > 0)


@app.command("list")
def list_jobs(
    ctx: typer.Context,
    *,
    limit: LimitOption = 50,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """List jobs, newest first."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found, more = first(client.batch_jobs(), limit)
        if json_text:
            typer.echo(as_json(found))
        elif csv:
            print_csv(aigen.BatchJob, found)
        else:
            render.show(render_jobs.jobs(found, more=more))


@app.command("show")
def show(
    ctx: typer.Context, job_id: IdArgument, *, wait: WaitOption = False, json_text: JsonOption = False, socket: SocketOption = None
) -> None:
    """Show how far a job is."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        job = client.batch_job(job_id)
        if wait:
            job = _followed(client, job)
        _show(job, json_text=json_text)
    _end(failed=wait and job.failed_count > 0)


@app.command("results")
def results(
    ctx: typer.Context,
    job_id: IdArgument,
    *,
    wait: WaitOption = False,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Print a job's results; with --json one line each, with the whole answer or the error."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        ends = _Ends(client.batch_job_results(job_id, wait=wait, timeout=inf if wait else None))
        if json_text:
            for result in ends:
                typer.echo(as_json_line(_plain(result)))
        elif csv:
            typer.echo(as_csv(_RESULT_CSV, map(_line, ends)), nl=False, color=True)
        else:
            render.show(render_jobs.results(ends))
    _end(failed=wait and ends.failed)


class _Ends:
    """Results as they come, and whether there was an error among them.

    Args:
        results: Results of a job.
    """

    def __init__(self, results: Iterable[aigen.BatchJobResult]) -> None:
        self._results = results
        self.failed = False

    def __iter__(self) -> Iterator[aigen.BatchJobResult]:
        for result in self._results:
            self.failed |= result.error is not None
            yield result


_RESULT_CSV = ("index", "request_id", "cost_usd_nanos", "cost_usd", "reason", "text")


def _line(result: aigen.BatchJobResult) -> list[object]:
    if result.completion is None:
        reason = result.error.reason if result.error else ""
        return [result.index, result.request_id, None, None, reason, str(result.error)]
    cost = result.completion.cost_usd_nanos
    shown = None if cost is None else exact_usd(cost)
    return [result.index, result.request_id, cost, shown, "", result.completion.text]


@app.command("cancel")
def cancel(ctx: typer.Context, job_id: IdArgument, *, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """End a job: what has not left is given up, uncharged; what was run keeps its result."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        _show(client.cancel_batch_job(job_id), json_text=json_text)


def _show(job: aigen.BatchJob, *, json_text: bool) -> None:
    if json_text:
        typer.echo(as_json(job))
    else:
        render.show(render_jobs.job(job))


def _end(*, failed: bool) -> None:
    """End a command that waited for a job; one whose requests were not all answered is no success."""
    if failed:
        raise typer.Exit(Exit.UNANSWERED)


def _read(file: Path) -> RequestFile:
    try:
        return read_requests(file)
    except BadLineError as error:
        raise typer.BadParameter(str(error)) from error


def _hand_in(
    client: aigen.Client, file: RequestFile, options: dict[str, Any], *, job_id: str | None, allow_repeat: bool
) -> aigen.BatchJob:
    """Create the job; a refusal that names a request is told with the line that it stands in."""
    try:
        return client.create_batch_job(
            file.requests, job_id=job_id, request_ids=file.request_ids, allow_repeat=allow_repeat, **options
        )
    except aigen.InvalidRequest as error:
        blamed = file.blame(error)
        if blamed is None:
            raise
        raise typer.BadParameter(str(blamed)) from error


def _followed(client: aigen.Client, job: aigen.BatchJob) -> aigen.BatchJob:
    """Tell on standard error how far a job is until it has ended or the user has seen enough."""
    with suppress(KeyboardInterrupt):
        for job in _views(client, job):  # noqa: B020 - the latest view is the result
            _tell(render_jobs.progress(job), last=job.end_time is not None)
    return job


def _views(client: aigen.Client, job: aigen.BatchJob) -> Iterator[aigen.BatchJob]:
    yield job
    told = job.ended_count
    while job.end_time is None:
        time.sleep(BETWEEN_S)
        job = client.batch_job(job.id)
        if job.ended_count != told or job.end_time is not None:
            told = job.ended_count
            yield job


def _tell(line: str, *, last: bool) -> None:
    """Write over the line before on a terminal, and below it elsewhere."""
    terminal = sys.stderr.isatty()
    sys.stderr.write(f"\r{line}\033[K" if terminal else line)
    sys.stderr.write("" if terminal and not last else "\n")
    sys.stderr.flush()


def _plain(result: aigen.BatchJobResult) -> dict[str, object]:
    """Return a result as an object: with its completion, or with its error."""
    facts: dict[str, object] = {"index": result.index, "request_id": result.request_id}
    if result.error is None:
        return facts | {"completion": result.completion}
    error = result.error
    return facts | {"error": {"reason": error.reason, "message": error.text, "metadata": error.metadata}}
