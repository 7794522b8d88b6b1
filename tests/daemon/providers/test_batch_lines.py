"""Files of results, line by line: whatever the pieces, one line at a time, and each bounded."""

import json
from collections.abc import AsyncIterator, Iterable

import pytest
from aigend.providers.batch_lines import RawLine, encoded, lines_of, name_in, not_created, results_of, same_model, without_lane
from aigend.providers.batch_port import NOT_ACCEPTED, BatchResult, may_be_accepted
from aigend.providers.port import FaultKind, ProviderFault
from aigend.types import Lane
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon.providers.asking import request
from tests.daemon.providers.batch_worlds import line
from tests.fakes import fake_reply


async def pieces(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield bytes as a connection would."""
    for part in parts:
        yield part


async def split(parts: Iterable[bytes], *, limit: int = 1_000) -> list[RawLine]:
    """Return the lines of a file that comes in these pieces."""
    return [found async for found in lines_of(pieces(parts), limit=limit)]


def parse(told: dict) -> BatchResult:
    """Return a result that says what the line says."""
    return BatchResult(custom_id=told["custom_id"], outcome=fake_reply(told["text"]))


async def read_into(seen: dict[str, BatchResult], results: AsyncIterator[BatchResult]) -> None:
    """Keep results by name, as far as they come."""
    async for result in results:
        seen[result.custom_id] = result


async def read(*parts: bytes, limit: int = 1_000) -> dict[str, BatchResult]:
    """Return the results of a file by name."""
    lines = lines_of(pieces(parts), limit=limit)
    return {result.custom_id: result async for result in results_of(lines, parse=parse, provider="p")}


@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.integers(1, 30))
async def test_lines_do_not_depend_on_the_pieces(texts: list[bytes], size: int) -> None:
    """However the bytes are cut, the lines are those between the line ends; blank ones are left out."""
    data = b"\n".join(texts)
    cut = [data[start : start + size] for start in range(0, len(data), size)]
    assert [found.data for found in await split(cut)] == [text for text in texts if text.strip()]


async def test_a_line_that_is_too_long_is_passed_over() -> None:
    """The others are whole, it is not, and its name is still known, from its beginning or from its end."""
    long = b'{"custom_id": "long", "text": "' + b"x" * 50_000 + b'"}'
    last = b'{"text": "' + b"x" * 50_000 + b'", "key": "last"}'
    found = await split([encoded({"custom_id": "a"}), long[:20_000], long[20_000:] + b"\n", last, b"\n{}"], limit=1_000)
    assert [item.whole for item in found] == [True, False, False, True]
    assert [name_in(item) for item in found[1:3]] == ["long", "last"]
    assert all(len(item.data) <= 2 * 4_096 for item in found if not item.whole)


def test_a_name_inside_an_answer_is_not_taken_for_the_lines_own() -> None:
    """An answer that quotes JSON has its quotes escaped, so that no name can be read out of it."""
    spoof = json.dumps({"text": '{"custom_id": "other"}', "custom_id": "own"}).encode()
    assert name_in(RawLine(spoof)) == "own"
    assert name_in(RawLine(b'{"text": "nobody"}')) == ""


async def test_too_long_answers_are_faults_of_their_own() -> None:
    """A line that passes the limit is TOO_LARGE, the others are read."""
    found = await read(encoded({"custom_id": "a", "text": "x" * 5_000}), encoded({"custom_id": "b", "text": "short"}), limit=1_000)
    assert found["a"].outcome.kind is FaultKind.TOO_LARGE
    assert found["b"].outcome.parts[0].content.text == "short"


@pytest.mark.parametrize("bad", [b'{"custom_id": "a", "text"', b'{"custom_id": "a"}', b'[{"custom_id": "a"}]'])
async def test_a_line_that_can_not_be_read_is_a_fault_of_its_own(bad: bytes) -> None:
    """Whatever is wrong with it, whoever it is for learns that its answer was billed perhaps."""
    found = await read(bad + b"\n", encoded({"custom_id": "b", "text": "fine"}))
    assert found["a"].outcome.kind is FaultKind.BAD_ANSWER
    assert may_be_accepted(found["a"].outcome)
    assert found["b"].outcome.parts


async def test_lines_of_nobody_make_the_whole_incomplete() -> None:
    """What can't be told whose it is raises at the end, when all else has been read: a line that is missing was perhaps run."""
    seen = {}
    lines = lines_of(pieces([b"nothing\n", encoded({"custom_id": "b", "text": "x"})]), limit=1_000)
    with pytest.raises(ProviderFault) as caught:
        await read_into(seen, results_of(lines, parse=parse, provider="p"))
    assert set(seen) == {"b"}
    assert caught.value.kind is FaultKind.BAD_ANSWER


def test_lines_for_several_models_are_no_job() -> None:
    """Such a job is refused before anything is sent, naming the models."""
    assert same_model([line("a"), line("b")], provider="p") == "gpt-4o"
    with pytest.raises(ProviderFault, match="gpt-4o, other") as caught:
        same_model([line("a"), line("b", model="other")], provider="p")
    assert not may_be_accepted(caught.value)


@pytest.mark.parametrize("kind", FaultKind, ids=str)
def test_a_failed_upload_never_made_a_job(kind: FaultKind) -> None:
    """Whatever happened to the file, what is said of the job is certain, and a wait that was asked for is kept."""
    fault = not_created(ProviderFault(kind, "why", provider="p", status=429, code="c", provider_message="m", retry_after_s=3.0))
    assert not may_be_accepted(fault)
    assert (fault.kind in NOT_ACCEPTED, fault.retry_after_s, fault.status, fault.code) == (True, 3.0, 429, "c")
    assert "why" in fault.message


def test_a_lane_has_been_decided_on_when_a_line_is_made() -> None:
    """A request of any lane is checked as an ordinary one."""
    asked = request(lane=Lane.FLEX)
    assert without_lane(asked).lane is Lane.INTERACTIVE
    assert without_lane(request()) == request()
