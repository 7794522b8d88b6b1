"""Which prefixes are marked, by each way to decide."""

from dataclasses import replace

import pytest
from aigend.scheduling.prompt_cache.marking import LOOKBACK_BLOCKS, Always, Marking, Never, SecondSight, Sights, Terms
from aigend.scheduling.prompt_cache.prefix_tree import PrefixTree
from aigend.scheduling.prompt_cache.prefixes import Prefix, Prefixes
from aigend.types import PartPlace

TTL_S = 300


def prefix(name: str, blocks: int = 1) -> Prefix:
    """Return a prefix that is known by a name."""
    return Prefix(digest=name.encode(), tokens=1_000 * blocks, place=PartPlace(0, blocks), blocks=blocks)


TOOLS, SYSTEM, FIRST, SECOND = prefix("tools"), prefix("system", 2), prefix("first", 3), prefix("second", 5)
OPENING = Prefixes(stable=(TOOLS, SYSTEM), turn=FIRST)
GOING_ON = Prefixes(stable=(TOOLS, SYSTEM), earlier=(FIRST,), turn=SECOND)


def decided(marking: Marking, prefixes: Prefixes, *, now: float = 0.0, owner: str = "me", ttl_s: int = TTL_S) -> tuple[Prefix, ...]:
    """Return what is marked; a reason is always given."""
    decision = marking.decide(prefixes, Terms(owner=owner, ttl_s=ttl_s), now=now)
    assert decision.reason
    assert all(mark.ttl_s == ttl_s for mark in decision.marks)
    return tuple(mark.prefix for mark in decision.marks)


@pytest.mark.parametrize("marking", [Never(), Always(), SecondSight(Sights())])
def test_no_way_to_decide_remembers_the_question(marking: Marking) -> None:
    """A question alone changes nothing, and of nothing nothing is marked."""
    first = decided(marking, OPENING)
    assert decided(marking, OPENING) == first
    assert decided(marking, Prefixes()) == ()


def test_never_and_always() -> None:
    """One marks nothing, the other all stable ends and the last turn."""
    assert decided(Never(), GOING_ON) == ()
    assert decided(Always(), OPENING) == (TOOLS, SYSTEM, FIRST)
    assert decided(Always(), GOING_ON) == (TOOLS, SYSTEM, SECOND)


def test_second_sight_marks_what_was_sent_before() -> None:
    """The first request marks nothing, the second one what both begin with."""
    sights = Sights()
    marking = SecondSight(sights)
    assert decided(marking, OPENING) == ()
    sights.note((TOOLS, SYSTEM, FIRST), owner="me", now=0.0)
    other = Prefixes(stable=(TOOLS, SYSTEM), turn=prefix("another question", 3))
    assert decided(marking, other, now=10.0) == (TOOLS, SYSTEM)
    assert decided(marking, replace(other, stable=(TOOLS, prefix("another system", 2))), now=10.0) == (TOOLS,)


def test_second_sight_marks_the_last_turn_of_a_conversation_that_goes_on() -> None:
    """An earlier turn that was sent before tells that the next request will begin with this one."""
    sights = Sights()
    sights.note((FIRST,), owner="me", now=0.0)
    assert decided(SecondSight(sights), GOING_ON) == (SECOND,)
    assert decided(SecondSight(sights), OPENING) == (FIRST,)  # the very same again


def test_second_sight_marks_as_far_as_requests_began_alike() -> None:
    """Where a request is one message of many parts, it is marked up to the part where it leaves what was sent before."""
    tree = PrefixTree()
    parts = tuple(prefix(f"part{number:02}", number) for number in range(1, 5))
    other = (*parts[:3], prefix("another", 4))
    marking = SecondSight(Sights(), tree)
    assert decided(marking, Prefixes(every=parts, turn=parts[-1])) == ()
    tree.grow("me", parts, ())
    assert decided(marking, Prefixes(every=other, turn=other[-1])) == (parts[2],)
    assert decided(marking, Prefixes(every=other, turn=other[-1]), owner="you") == ()


def test_sights_of_one_owner_are_not_told_to_another() -> None:
    """Scope and route keep prefixes apart."""
    sights = Sights()
    sights.note((SYSTEM,), owner="me", now=0.0)
    assert decided(SecondSight(sights), OPENING, owner="you") == ()


@pytest.mark.parametrize("always", [True, False])
def test_a_turn_too_far_behind_is_marked_again(*, always: bool) -> None:
    """Providers look back only so many blocks: a turn that added more marks the one before it too."""
    near, far = prefix("near", FIRST.blocks + LOOKBACK_BLOCKS - 1), prefix("far", FIRST.blocks + LOOKBACK_BLOCKS)
    sights = Sights()
    sights.note((FIRST,), owner="me", now=0.0)
    marking = Always() if always else SecondSight(sights)
    assert decided(marking, Prefixes(earlier=(FIRST,), turn=near)) == (near,)
    assert decided(marking, Prefixes(earlier=(FIRST,), turn=far)) == (FIRST, far)


def test_sights_are_bounded() -> None:
    """The longest unused prefix is forgotten first; one that is sent again stays."""
    sights = Sights(most=2)
    for name in ("a", "b", "a", "c"):
        sights.note((prefix(name),), owner="me", now=0.0)
    assert len(sights) == 2
    assert [sights.age_s(prefix(name), owner="me", now=1.0) for name in ("a", "b", "c")] == [1.0, None, 1.0]


def test_prefixes_are_kept_as_long_as_the_provider_was_asked_to() -> None:
    """What was written or read is expected to be there for its time, also when it is sent again."""
    sights = Sights()
    assert not sights.kept(FIRST, owner="me", now=0.0)
    sights.keep((FIRST,), owner="me", now=0.0, ttl_s=TTL_S)
    sights.note((FIRST,), owner="me", now=200.0)
    assert sights.kept(FIRST, owner="me", now=299.0)
    assert not sights.kept(FIRST, owner="me", now=300.0)
