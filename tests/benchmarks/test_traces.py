"""What a line of a trace may say, and how one that says something else is refused."""

import json
from pathlib import Path

import pytest

from benchmarks.traces import BLOCK_TOKENS, TraceError, read_trace

GOOD = {"timestamp": 5, "input_length": 1_025, "output_length": 0, "hash_ids": [0, 1, 2]}


def _line(**changes: object) -> str:
    return json.dumps({name: value for name, value in (GOOD | changes).items() if value is not ...})


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("no json", "is 'no json', no JSON; allowed: an object with timestamp, input_length, output_length, hash_ids"),
        ("[" * 100_000, "no JSON; allowed: an object"),
        ("[1, 2]", "is [1, 2]; allowed: an object with timestamp, input_length, output_length, hash_ids"),
        (_line(hash_ids=...), ": hash_ids is missing; allowed: a list of whole numbers from 0 on"),
        (_line(hash_ids=7), ": hash_ids is 7; allowed: a list of whole numbers from 0 on"),
        (_line(hash_ids=[0, 1, None]), ": hash_ids is [0, 1, null]; allowed: a list of whole numbers from 0 on"),
        (_line(hash_ids=[0, 1, -2]), ": hash_ids is [0, 1, -2]; allowed: a list of whole numbers from 0 on"),
        (_line(hash_ids=[0, 1, True]), ": hash_ids is [0, 1, true]; allowed: a list of whole numbers from 0 on"),
        (
            _line(input_length=1_024),
            ": hash_ids is [0, 1, 2]; allowed: at most 2 ids with input_length 1024: one for each 512",
        ),
        (_line(input_length=0, hash_ids=[]), ": input_length is 0; allowed: a whole number from 1 to 1_000_000_000_000_000"),
        (_line(input_length="5"), ': input_length is "5"; allowed: a whole number from 1'),
        (_line(input_length=1025.0), ": input_length is 1025.0; allowed: a whole number from 1"),
        (_line(output_length=...), ": output_length is missing; allowed: a whole number from 0"),
        (_line(output_length=-1), ": output_length is -1; allowed: a whole number from 0"),
        (_line(timestamp=None), ": timestamp is null; allowed: milliseconds from 0"),
        (_line(timestamp=float("nan")), ": timestamp is NaN; allowed: milliseconds from 0"),
        (_line(timestamp=4), ": timestamp is 4.0; allowed: at least 5, that of the line above"),
        (_line(timestamp="x" * 500), ': timestamp is "' + "x" * 79 + "...; allowed"),
    ],
)
def test_bad_line_is_refused_by_line_field_and_value(tmp_path: Path, bad: str, told: str) -> None:
    """The error has the file, the line's number, the field, its value and what is allowed."""
    path = tmp_path / "trace.jsonl"
    path.write_text(f"{_line()}\n\n{bad}\n", encoding="utf-8")
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(f"{path}, line 3")
    assert told in str(caught.value)


def test_file_of_other_bytes_is_refused(tmp_path: Path) -> None:
    """What is no text is said to be none."""
    (tmp_path / "trace.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(TraceError, match=r"trace\.jsonl is not UTF-8"):
        read_trace(tmp_path / "trace.jsonl")


def test_what_no_id_names_is_the_requests_own(tmp_path: Path) -> None:
    """Traces may name whole blocks alone, or none: the rest of a request gets new ids, which only its equals share."""
    path = tmp_path / "trace.jsonl"
    named = [([1, 2], 1_500), ([1, 2], 1_500), ([1, 2], 1_400), ([], 40), ([1], 512)]
    path.write_text("\n".join(_line(hash_ids=ids, input_length=length) for ids, length in named), encoding="utf-8")
    first, equal, other, short, whole = (asked.hash_ids for asked in read_trace(path))
    assert first == equal == (1, 2, 3)
    assert (other, short, whole) == ((1, 2, 4), (5,), (1,))


@pytest.mark.parametrize("length", [1, BLOCK_TOKENS, BLOCK_TOKENS + 1])
def test_whole_and_begun_blocks_have_an_id_each(tmp_path: Path, length: int) -> None:
    """A request has as many ids as it has begun blocks; its time is in seconds."""
    path = tmp_path / "trace.jsonl"
    path.write_text(_line(input_length=length, hash_ids=list(range(-(-length // BLOCK_TOKENS))), timestamp=1_500.5))
    (asked,) = read_trace(path)
    assert (asked.time, asked.input_length, asked.ends[-1]) == (1.5005, length, length)
