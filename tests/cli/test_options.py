"""What is typed becomes a value, or a refusal that repeats it and names what is allowed."""

from collections.abc import Iterator
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
from aigenctl.app import app
from aigenctl.exits import Exit
from typer.models import OptionInfo

NUMBERS = [
    ("complete Hi --temperature -1", "it is -1; allowed: a number from 0 to 2"),
    ("complete Hi --temperature nan", "it is nan; allowed: a number from 0 to 2"),
    ("complete Hi --temperature inf", "it is inf; allowed: a number from 0 to 2"),
    ("complete Hi --temperature warm", "it is warm; allowed: a number from 0 to 2"),
    ("complete Hi --max-output-tokens -5", "it is -5; allowed: a whole number from 1 to 1000000"),
    ("complete Hi --max-output-tokens 1.5", "it is 1.5; allowed: a whole number from 1 to 1000000"),
    ("complete Hi --max-output-tokens 1000001", "it is 1000001; allowed: a whole number from 1 to 1000000"),
    (
        "complete Hi --seed 9999999999999999999999",
        "it is 9999999999999999999999; allowed: a whole number from -9223372036854775808 to",
    ),
    ("complete Hi --sample-index -1", "it is -1; allowed: a whole number from 0 to 1000000"),
    ("complete Hi --timeout 0", "it is 0; allowed: seconds above 0"),
    ("complete Hi --timeout nan", "it is nan; allowed: seconds above 0"),
    ("complete Hi --ttl 99999999d", "--ttl is '99999999d'; allowed: 1s to 366d, as a number with s, m, h, d or w"),
    ("complete Hi --ttl 0s", "--ttl is '0s'; allowed: 1s to 366d"),
    ("cache list --limit -1", "it is -1; allowed: a whole number from 0 to 1000000000"),
    ("ledger list --limit 99999999999999999999", "it is 99999999999999999999; allowed: a whole number from 0 to"),
    ("models list --limit many", "it is many; allowed: a whole number from 0 to"),
    ("cache list --older-than 999999w", "--older-than is '999999w'; allowed: 0s to 36500d"),
    ("cache clear --older-than -1d", "--older-than is '-1d'; allowed: 0s to 36500d"),
    ("stats --since 999999w", "--since is '999999w'; allowed: 0s to 36500d"),
    ("drain --yes --wait -1", "it is -1; allowed: 0 to 3600 seconds"),
    ("drain --yes --wait nan", "it is nan; allowed: 0 to 3600 seconds"),
    (f"complete Hi --seed {'9' * 5000}", f"it is {'9' * 57}...; allowed: a whole number"),
]

RANGES = [
    ("stats --since 2090-01-01", "--since is '2090-01-01', which lies in the future; allowed: a moment that has passed"),
    ("ledger list --since 2090-01-01", "--since is '2090-01-01', which lies in the future"),
    ("stats --since 2020-02-01 --until 2020-01-01", "--until is '2020-01-01', which is not after --since '2020-02-01'"),
    ("ledger list --since 1d --until 2d", "--until is '2d', which is not after --since '1d'; allowed: a later moment"),
]


@pytest.mark.parametrize(("words", "told"), NUMBERS + RANGES, ids=lambda text: text[:50])
def test_bad_value_is_repeated_with_what_is_allowed(daemon, run, words, told):
    """A number, an age or a range that can't be taken ends with 2, repeats what was typed, names the range, and asks nothing."""
    result = run(*words.split())
    assert result.exit_code == Exit.USAGE
    assert told in " ".join(result.stderr.split())
    assert daemon.asked == {}


@pytest.mark.parametrize(
    "words",
    [
        "complete Hi --temperature 2 --max-output-tokens 1 --seed -9223372036854775808 --sample-index 0 --ttl 366d --timeout inf",
        "complete Hi --temperature 0 --max-output-tokens 1000000 --seed 9223372036854775807 --sample-index 1000000 --ttl 1s",
        "cache list --limit 0 --older-than 0s",
        "stats --since 36500d --until 2090-01-01",
        "stats --until 1d",
        "drain --yes --wait 3600",
    ],
)
def test_ends_of_the_ranges_are_allowed(run, words):
    """The lowest and the highest value of each range are taken."""
    assert run(*words.split()).exit_code == Exit.OK


def numbers(group) -> Iterator[tuple[str, str, object]]:
    """Yield the command, the option and its reader, of every option that is a number."""
    for below in group.registered_groups:
        yield from numbers(below.typer_instance)
    for command in group.registered_commands:
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            kind, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            if {int, float} & {kind, *get_args(kind)}:
                yield command.callback.__name__, name, extras[0].parser


def test_every_number_is_read_by_a_reader_of_ours():
    """No option leaves a number to the command line's library, whose refusals don't repeat what was typed."""
    found = {(command, name): reader for command, name, reader in numbers(app)}
    assert {("complete", "seed"), ("complete", "temperature"), ("drain", "wait"), ("list_models", "limit")} <= found.keys()
    assert [place for place, reader in found.items() if reader is None] == []


AMOUNTS = (
    "1e9999",
    "-5",
    "1e-9999",
    "NaN",
    "sNaN",
    "Infinity",
    "much",
    "0.0000000001",
    "1." + "1" * 40,
    "9" * 5_000,
    "1e999999999",
)
LIMIT = "allowed: 0 to 999,999,999.999999999 dollars with at most nine digits behind the point"


@pytest.mark.parametrize("typed", [*AMOUNTS, "1e9"])
def test_an_amount_is_refused_in_the_unit_it_was_typed_in(daemon, run, typed):
    """A limit that can't be is repeated with what is allowed in dollars; no library's error shows through."""
    result = run("budget", "set", "b", "--period", "daily", f"--limit-usd={typed}")
    assert result.exit_code == Exit.USAGE
    told = " ".join(result.stderr.replace("│", " ").split())
    assert LIMIT in told
    assert f"it is {typed[:40]}" in told
    assert daemon.asked == {}


@pytest.mark.parametrize("typed", [*AMOUNTS, "1000000.01"])
def test_a_cost_is_refused_in_dollars(daemon, run, typed):
    """A cost that can't be is refused the same way, where it is settled and where it is booked."""
    for words in (("settle", "7"), ("record", "p", "m", "--request-id", "r")):
        result = run("ledger", *words, f"--cost={typed}")
        assert result.exit_code == Exit.USAGE
        assert "allowed: 0 to 1,000,000 dollars" in " ".join(result.stderr.replace("│", " ").split())
    assert daemon.asked == {}


@pytest.mark.parametrize(("typed", "nanos"), [("0", 0), ("0.000000001", 1), ("999999999.999999999", 10**18 - 1), ("1e-3", 10**6)])
def test_the_ends_of_a_limit_are_taken(daemon, run, typed, nanos):
    """Every amount that has whole nano-dollars travels exactly."""
    run("budget", "set", "b", "--period", "daily", "--limit-usd", typed)
    assert daemon.asked["SetBudget"][0].budget.limit_usd_nanos == nanos


def functions(group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield each command's words with the function that it is; a noun that does something by itself too."""
    if group.registered_callback and path:
        yield path, group.registered_callback.callback
    for below in group.registered_groups:
        yield from functions(below.typer_instance, (*path, below.name))
    for command in group.registered_commands:
        yield (*path, command.name or command.callback.__name__), command.callback


def every_option() -> Iterator[tuple[tuple[str, ...], object, object]]:
    """Yield each command's words with each of its options, and what it holds."""
    for path, function in functions(app):
        for hint in get_type_hints(function, include_extras=True).values():
            kind, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            if extras and isinstance(extras[0], OptionInfo):
                yield path, extras[0], kind


def names(option) -> list[str]:
    """Return what an option is typed as; inside `Annotated` the first name stands where a default would."""
    return [name for name in (option.default, *(option.param_decls or ())) if isinstance(name, str) and name.startswith("-")]


MAY_BE_EMPTY = {"--system", "--note"}  # texts, not names: without one nothing else is asked, counted or matched
TEXTS = [
    (path, names(option)[0])
    for path, option, kind in every_option()
    if {str, list[str]} & {kind, *get_args(kind)} and names(option)[0] not in MAY_BE_EMPTY
]


@pytest.mark.parametrize(("path", "option"), TEXTS, ids=[f"{' '.join(path)} {option}" for path, option in TEXTS])
def test_an_empty_text_is_refused(daemon, run, tmp_path, path, option):
    """A variable of the shell that is not set can't widen a filter, nor lose whom a paid call is accounted to."""
    file = tmp_path / "one.jsonl"
    file.write_text('{"prompt": "Hi", "agent": "claude"}\n')
    needed = {
        ("job", "submit"): (str(file),),
        ("ledger", "record"): ("p", "m", "--request-id", "r"),
        ("complete",): ("Hi", "--lane", "deferred"),
    }
    result = run(*path, option, "", *(needed.get(path, ()) if option in ("--complete-by", "--time") else ()))
    assert result.exit_code == Exit.USAGE
    told = " ".join(result.stderr.replace("│", " ").split())
    assert "it is empty" in told or f"{option} is ''" in told, told
    assert daemon.asked == {}


def test_texts_are_found():
    """Control: the options that the test above goes through are those of every command."""
    assert {(("complete",), "--session"), (("ledger", "record"), "--task"), (("stats",), "--label-key")} <= set(TEXTS)


@pytest.mark.parametrize(
    "words", ["complete Hi --label team=", "stats --label team=", "ledger record p m --request-id r --label t="]
)
def test_an_empty_label_is_refused(daemon, run, words):
    """A label has a key and a value."""
    result = run(*words.split())
    assert result.exit_code == Exit.USAGE
    assert "whose value is empty; allowed: KEY=VALUE" in " ".join(result.stderr.replace("│", " ").split())
    assert daemon.asked == {}


FILTERS = {"--session", "--service", "--agent", "--phase", "--task", "--label"}
ONLY_NOUNS: set[tuple[str, ...]] = set()
WRITERS = {("complete",), ("job", "submit"), ("ledger", "record")}


@pytest.mark.parametrize(
    ("path", "name", "told"),
    [(path, names(option)[0], option.help) for path, option, _ in every_option() if names(option)[0] in FILTERS],
)
def test_help_tells_filters_from_what_is_written(path, name, told):
    """`Only …` is said where calls are chosen, and nowhere that a call is made or booked."""
    assert told.startswith("Only ") is (path not in WRITERS), name


def test_json_works_with_every_command():
    """Each command that does something has --json; nothing is left out of what docs/cli.md promises."""
    doing = {path for path, _ in functions(app)} - ONLY_NOUNS
    assert ("ledger", "export") in doing
    assert doing - {path for path, option, _ in every_option() if "--json" in names(option)} == set()
