"""Options that several commands share, and how what was typed becomes a value."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

SHOWN_CHARACTERS = 60
LONGEST_AGE = timedelta(days=36_500)
_MOST_UNITS = 36_500 * 86_400  # of any unit; more would not fit a time span


def whole(low: int, high: int) -> Callable[[object], int]:
    """Return what reads a whole number within a range; a refusal repeats what was typed and names the range."""

    def read(typed: object) -> int:
        try:
            value = int(str(typed))
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise typer.BadParameter(f"it is {_shown(typed)}; allowed: a whole number from {low} to {high}")
        return value

    return read


def real(allowed: str, *, low: float, high: float, above: bool = False) -> Callable[[object], float]:
    """Return what reads a number within a range; a refusal repeats what was typed and says what is allowed.

    Args:
        allowed: The range in words.
        low: Lowest value.
        high: Highest value.
        above: Whether the lowest value itself is too low.
    """

    def read(typed: object) -> float:
        try:
            value = float(str(typed))
        except ValueError:
            value = float("nan")
        if not low <= value <= high or (above and value == low):
            raise typer.BadParameter(f"it is {_shown(typed)}; allowed: {allowed}")
        return value

    return read


def dollars(high: Decimal) -> Callable[[object], Decimal]:
    """Return what reads an amount of dollars, exact to the nano-dollar; a refusal repeats what was typed and names the range.

    Args:
        high: Highest amount; the lowest is 0.
    """

    def read(typed: object) -> Decimal:
        try:
            value = Decimal(str(typed))
        except InvalidOperation:
            value = Decimal(-1)
        # Compared before it is scaled: an exponent may be far beyond what arithmetic takes.
        if not value.is_finite() or not 0 <= value <= high or value != round(value, 9):
            raise typer.BadParameter(
                f"it is {_shown(typed)}; allowed: 0 to {high:,f} dollars with at most nine digits behind the point"
            )
        return value

    return read


def _shown(typed: object) -> str:
    text = str(typed)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


_EMPTY = "it is empty; allowed: a name, or leave the option out"


def filled(value: str | None) -> str | None:
    """Refuse a name that was given and is empty, such as a variable of the shell that is not set."""
    if value == "":
        raise typer.BadParameter(_EMPTY)
    return value


def all_filled(values: list[str] | None) -> list[str] | None:
    """Refuse an empty name among several."""
    if values and "" in values:
        raise typer.BadParameter(_EMPTY)
    return values


SocketOption = Annotated[
    Path | None,
    typer.Option("--socket", metavar="PATH", help="Socket of the daemon; by default where AIGEN_SOCKET and the usual places say."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, errors too.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print one CSV line a row.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would happen and change nothing.")]
LimitOption = Annotated[
    int, typer.Option("--limit", "-n", parser=whole(0, 1_000_000_000), metavar="INTEGER", help="Most rows; 0 for all.")
]

ProviderOption = Annotated[str | None, typer.Option("--provider", callback=filled, help="Only this provider.")]
ModelOption = Annotated[str | None, typer.Option("--model", callback=filled, help="Only this model.")]
AgentOption = Annotated[str | None, typer.Option("--agent", callback=filled, help="Only this agent.")]
ServiceOption = Annotated[str | None, typer.Option("--service", callback=filled, help="Only this service.")]
SessionOption = Annotated[str | None, typer.Option("--session", callback=filled, help="Only this session.")]
PhaseOption = Annotated[str | None, typer.Option("--phase", callback=filled, help="Only this phase.")]
TaskOption = Annotated[str | None, typer.Option("--task", callback=filled, help="Only this task.")]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", callback=all_filled, help="Only with this label; repeatable."),
]
# What a call is accounted to, where it is made or booked; above are filters.
AccountServiceOption = Annotated[str | None, typer.Option("--service", callback=filled, help="Service that asks.")]
AccountAgentOption = Annotated[str | None, typer.Option("--agent", callback=filled, help="Agent that answered.")]
AccountPhaseOption = Annotated[str | None, typer.Option("--phase", callback=filled, help="Phase of the pipeline.")]
AccountSessionOption = Annotated[
    str | None, typer.Option("--session", callback=filled, help="Session that the call is accounted to.")
]
AccountTaskOption = Annotated[str | None, typer.Option("--task", callback=filled, help="Task that the call is accounted to.")]
AccountLabelsOption = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", callback=all_filled, help="Label that the call gets; repeatable."),
]

ZoneOption = Annotated[
    str | None, typer.Option("--time-zone", metavar="ZONE", callback=filled, help="IANA zone; by default the daemon's.")
]
SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="First moment: ISO 8601, or an age such as 24h.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Last moment, exclusive: ISO 8601, or an age.")]

T = TypeVar("T")

_COMING = "a moment to come: ISO 8601, such as 2030-11-21T08:00Z, or an age from now on, such as 36h"
_AGE = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(text: str | None, option: str, *, shortest: timedelta = timedelta(), longest: timedelta = LONGEST_AGE) -> timedelta | None:
    """Return an age such as `90m` as a time span.

    Args:
        text: What was typed.
        option: Named in the refusal.
        shortest: Shortest age that is taken.
        longest: Longest age that is taken.

    Raises:
        typer.BadParameter: The text is no age, or out of range.
    """
    if text is None:
        return None
    found = _AGE.fullmatch(text)
    span = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found and int(found[1]) <= _MOST_UNITS else None
    if span is None or not shortest <= span <= longest:
        bounds = f"{shortest // timedelta(seconds=1)}s to {longest.days}d"
        raise typer.BadParameter(
            f"{option} is {_shown(text)!r}; allowed: {bounds}, as a number with s, m, h, d or w, such as 90m or 7d"
        )
    return span


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
        raise typer.BadParameter(f"{option} is {_shown(text)!r}; allowed: {allowed}") from None


def coming(text: str | None, option: str) -> datetime | None:
    """Return a moment to come, given in ISO 8601, taken as local time where it names no zone, or as an age from now on.

    Raises:
        typer.BadParameter: The text is neither, or the moment has passed.
    """
    if text is None:
        return None
    now = datetime.now(UTC)
    if _AGE.fullmatch(text):
        found = now + (age(text, option) or timedelta())
    else:
        try:
            found = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            raise typer.BadParameter(f"{option} is {_shown(text)!r}; allowed: {_COMING}") from None
    if found <= now:
        raise typer.BadParameter(f"{option} is {_shown(text)!r}, which has passed; allowed: {_COMING}")
    return found


def time_range(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Return the first and the last moment of a range.

    Raises:
        typer.BadParameter: One is no moment, the range has not begun yet, or it ends before it begins.
    """
    start, end = moment(since, "--since"), moment(until, "--until")
    if start is not None and start > datetime.now(UTC):
        raise typer.BadParameter(f"--since is {since!r}, which lies in the future; allowed: a moment that has passed")
    if start is not None and end is not None and end <= start:
        raise typer.BadParameter(
            f"--until is {until!r}, which is not after --since {since!r}; allowed: a later moment than --since"
        )
    return start, end


def labels(texts: list[str] | None) -> dict[str, str] | None:
    """Return labels given as `key=value`.

    Raises:
        typer.BadParameter: One has no key or an empty value, or a key is there twice.
    """
    found = pairs(texts, "--label")
    for key, value in found.items():
        if not value:
            raise typer.BadParameter(f"--label is {_shown(key + '=')!r}, whose value is empty; allowed: KEY=VALUE")
    return found or None


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Return what was given as `key=value`, each key once.

    Raises:
        typer.BadParameter: One has no key, or a key is there twice, of which only one could count.
    """
    found: dict[str, str] = {}
    for key, sign, value in (text.partition("=") for text in texts or ()):
        if not key or not sign:
            raise typer.BadParameter(f"{option} is {_shown(key + sign + value)!r}; allowed: KEY=VALUE")
        if key in found:
            raise typer.BadParameter(
                f"{option} is {_shown(key + sign + value)!r} after {_shown(key + sign + found[key])!r}; allowed: each key once"
            )
        found[key] = value
    return found


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


def one_form(*, csv: bool, json_text: bool) -> None:
    """Refuse two forms of output at once."""
    if csv and json_text:
        raise typer.BadParameter("--csv together with --json; allowed: one of them")
