"""Single-flight: who leads, who follows, and what each gets."""

import asyncio

import pytest
from aigend.scheduling.single_flight import Flight, FlightTable, LeaderLeftError

Table = FlightTable[str, str, str]


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_leads_and_the_rest_follow() -> None:
    """Equal keys meet on one flight with one leader."""
    table = Table(buffer_bytes=100)
    flight, leads = table.board("k")
    assert leads
    assert table.board("k") == (flight, False)
    assert table.board("other")[1]


async def test_other_flights_may_be_joined_and_are_never_started() -> None:
    """A flight that may be joined as well is joined where there is one; a new flight stands under the caller's own key."""
    table = Table(buffer_bytes=100)
    own, leads = table.board("slow", also=("quick",))
    assert leads
    quick, leads = table.board("quick")
    assert leads
    assert table.board("slow", also=("quick",)) == (own, False)
    table.leave(own)
    assert table.board("slow", also=("quick",)) == (quick, False)
    assert table.board(None, also=("quick",))[1]


async def test_flight_without_key_is_joined_by_nobody() -> None:
    """A call that shares with nobody always leads."""
    table = Table(buffer_bytes=100)
    first, second = table.board(None), table.board(None)
    assert first[1]
    assert second[1]
    assert len(table) == 0


async def test_followers_get_the_landing() -> None:
    """Everybody aboard gets what the leader brings."""
    flight, _ = Table(buffer_bytes=100).board("k")
    waiting = [asyncio.create_task(flight.result()) for _ in range(3)]
    await _settle()
    flight.land("answer")
    assert await asyncio.gather(*waiting) == ["answer"] * 3


async def test_follower_that_leaves_disturbs_nobody() -> None:
    """Cancelling one follower leaves the flight and the others as they were."""
    flight, _ = Table(buffer_bytes=100).board("k")
    leaver, stayer = asyncio.create_task(flight.result()), asyncio.create_task(flight.result())
    await _settle()
    leaver.cancel()
    await _settle()
    flight.land("answer")
    assert await stayer == "answer"


async def test_followers_get_leaders_error() -> None:
    """Everybody aboard gets the error that the flight ended with."""
    flight, _ = Table(buffer_bytes=100).board("k")
    waiting = asyncio.create_task(flight.result())
    await _settle()
    flight.fail(LeaderLeftError())
    with pytest.raises(LeaderLeftError):
        await waiting


async def test_next_to_board_leads_after_the_flight_was_left() -> None:
    """A flight that was left is no longer joined, and leaving it late does not end the next one."""
    table = Table(buffer_bytes=100)
    first, _ = table.board("k")
    table.leave(first)
    second, leads = table.board("k")
    assert leads
    table.leave(first)
    assert table.board("k") == (second, False)


async def _read(flight: Flight[str, str, str]) -> list[str]:
    return [event async for event in flight.events()]


async def test_late_reader_gets_all_events_from_the_first() -> None:
    """Who joins in the middle of a stream reads it from its beginning."""
    flight, _ = Table(buffer_bytes=100).board("k")
    early = asyncio.create_task(_read(flight))
    await _settle()
    flight.publish("a", 1)
    await _settle()
    late = asyncio.create_task(_read(flight))
    await _settle()
    flight.publish("b", 1)
    flight.land("ab")
    assert await early == ["a", "b"]
    assert await late == ["a", "b"]


async def test_full_buffer_keeps_a_clean_beginning() -> None:
    """After an event that no longer fits nothing is kept, so that what readers join has no hole."""
    flight, _ = Table(buffer_bytes=3).board("k")
    for event in ("ab", "cd", "e"):
        flight.publish(event, len(event))
    flight.land("abcde")
    assert await _read(flight) == ["ab"]
