"""What is typed becomes a value, or a refusal that repeats it and names what is allowed."""

from collections.abc import Iterator
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
from aigenctl.app import app
from aigenctl.exits import Exit

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
