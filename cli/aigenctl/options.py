"""Options that several commands share, and how what was typed becomes a value."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

SocketOption = Annotated[
    Path | None,
    typer.Option("--socket", metavar="PATH", help="Socket of the daemon; by default where AIGEN_SOCKET and the usual places say."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, errors too.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would happen and change nothing.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=0, help="Most rows; 0 for all.")]

ProviderOption = Annotated[str | None, typer.Option("--provider", help="Only this provider.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Only this model.")]
AgentOption = Annotated[str | None, typer.Option("--agent", help="Only this agent.")]
ServiceOption = Annotated[str | None, typer.Option("--service", help="Only this service.")]
SessionOption = Annotated[str | None, typer.Option("--session", help="Only this session.")]
PhaseOption = Annotated[str | None, typer.Option("--phase", help="Only this phase.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Only this task.")]
LabelsOption = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only with this label; repeatable.")]
SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="First moment: ISO 8601, or an age such as 24h.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Last moment, exclusive: ISO 8601, or an age.")]

T = TypeVar("T")

_AGE = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(text: str | None, option: str) -> timedelta | None:
    """Return an age such as `90m` as a time span.

    Raises:
        typer.BadParameter: The text is no age.
    """
    if text is None:
        return None
    found = _AGE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{option} is {text!r}; allowed: a number with s, m, h, d or w, such as 90m or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def moment(text: str | None, option: str) -> datetime | None:
    """Return a moment given in ISO 8601, taken as local time where it names no zone, or as an age before now.

    Raises:
        typer.BadParameter: The text is neither.
    """
    if text is None:
        return None
    if _AGE.fullmatch(text):
        return datetime.now(UTC) - (age(text, option) or timedelta())
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        allowed = "ISO 8601, such as 2026-11-21T08:00Z, or an age, such as 7d"
        raise typer.BadParameter(f"{option} is {text!r}; allowed: {allowed}") from None


def labels(pairs: list[str] | None) -> dict[str, str] | None:
    """Return labels given as `key=value`.

    Raises:
        typer.BadParameter: A pair has no key.
    """
    split = [pair.partition("=") for pair in pairs or ()]
    for key, sign, value in split:
        if not key or not sign:
            raise typer.BadParameter(f"--label is {key + sign + value!r}; allowed: KEY=VALUE")
    return {key: value for key, _, value in split} or None


def given(**filters: object) -> dict[str, Any]:
    """Return the filters that were given, by name.

    Example:
        >>> given(provider=None, session="run-1")
        {'session': 'run-1'}
    """
    return {name: value for name, value in filters.items() if value is not None}


def first(found: Iterable[T], limit: int) -> tuple[list[T], bool]:
    """Return at most `limit` of what was found, all for 0, and whether there is more.

    Example:
        >>> first("abc", 2)
        (['a', 'b'], True)
    """
    taken = list(islice(found, limit + 1 if limit else None))
    return (taken[:limit], True) if limit and len(taken) > limit else (taken, False)


def alone(ctx: typer.Context, **options: object) -> bool:
    """Tell whether a noun was given without a command; its options then count as those of its first command.

    Raises:
        typer.BadParameter: Options stand between the noun and its command, where they would be lost.
    """
    if ctx.invoked_subcommand is not None and any(options.values()):
        raise typer.BadParameter(f"options of {ctx.invoked_subcommand} stand before it; allowed: behind it")
    return ctx.invoked_subcommand is None


def filled(value: str | None) -> str | None:
    """Refuse a name that was given and is empty, such as a variable of the shell that is not set."""
    if value == "":
        raise typer.BadParameter("it is empty; allowed: a name, or leave the option out")
    return value
