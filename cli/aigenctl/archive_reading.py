"""Charges out of an archive file, as the daemon tells those that are in its ledger; no daemon is needed to read them."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aigen
import typer

FORMAT = "aigen ledger archive"
VERSION = 1
_TOKENS = (
    *("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
    *("output_tokens", "reasoning_tokens"),
)
_SAME = (
    *("request_id", "attempt_number", "provider", "model", "resolved_model", "agent", "service", "session", "phase", "task"),
    *("provider_usage_json", "price_entry_id", "provider_us"),
)


def entries(
    path: Path,
    *,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    labels: Mapping[str, str] | None = None,
    **where: str,
) -> Iterator[aigen.LedgerEntry]:
    """Yield the charges of a file, in the order in which their calls were made; few are in memory.

    Args:
        path: The file.
        start_time: Only calls made from then on.
        end_time: Only calls made before.
        labels: Only calls with all of these.
        where: Only calls that match all of provider, model, agent, service, session, phase and task.

    Raises:
        typer.BadParameter: It is no archive, or can't be read.
    """
    try:
        with gzip.open(path, "rb") as lines:
            header = json.loads(next(iter(lines), b"{}"))
            if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (FORMAT, VERSION):
                raise typer.BadParameter(f"--archive is {str(path)!r}, no ledger archive of version {VERSION}; allowed: one")
            for line in lines:
                row = json.loads(line.decode("utf-8", "surrogatepass"))
                if row["row"] == "attempt" and _matches(entry := _entry(row), start_time, end_time, {**where, "labels": labels}):
                    yield entry
    except (OSError, EOFError, zlib.error, ValueError, KeyError) as error:
        raise typer.BadParameter(f"--archive is {str(path)!r}, which can't be read: {error}; allowed: a ledger archive") from error


def _matches(entry: aigen.LedgerEntry, start: datetime | None, end: datetime | None, where: Mapping[str, Any]) -> bool:
    made = entry.create_time
    if made is not None and ((start is not None and made < start) or (end is not None and made >= end)):
        return False
    wanted = dict(where)
    labels = wanted.pop("labels") or {}
    return labels.items() <= entry.labels.items() and all(getattr(entry, name) == value for name, value in wanted.items())


def _entry(row: dict[str, Any]) -> aigen.LedgerEntry:
    settled = row["state"] == aigen.AttemptState.SETTLED
    return aigen.LedgerEntry(
        **{name: row[name] for name in _SAME},
        id=str(row["id"]),
        state=aigen.AttemptState(row["state"]),
        labels=json.loads(row["labels"] or "{}"),
        cache_outcome=aigen.CacheOutcome(row["outcome"]),
        usage=_usage(row),
        reserved_usd_nanos=0,
        cost_usd_nanos=row["cost_nanos"] if settled else 0,
        cost_basis=aigen.CostBasis(row["cost_basis"]) if settled else None,
        flags=tuple(json.loads(row["flags"])),
        create_time=_moment(row["create_us"]),
        update_time=_moment(row["update_us"]),
        savings=tuple(
            aigen.Savings(cause=aigen.SavingsCause(cause), call_count=1, saved_usd_nanos=nanos)
            for cause, nanos in json.loads(row["savings"]).items()
        ),
    )


def _usage(row: dict[str, Any]) -> aigen.TokenUsage | None:
    if row["input_tokens"] is None:
        return None
    return aigen.TokenUsage(**{name: row[name] for name in _TOKENS}, search_count=row["searches"])


def _moment(microseconds: int) -> datetime:
    seconds, rest = divmod(microseconds, 10**6)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
