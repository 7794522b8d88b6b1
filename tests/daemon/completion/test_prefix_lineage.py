"""Which prefix a call wrote, and which one written before it sent again."""

from dataclasses import replace

from aigend.completion.prompt_cache.lineage import PrefixLineage, short
from aigend.completion.prompt_cache.plans import PromptPlan
from aigend.ledger.entries import PrefixUse
from aigend.scheduling.prompt_cache.marking import Terms
from aigend.scheduling.prompt_cache.prefixes import Prefix, Prefixes
from aigend.types import PartPlace, TokenUsage

WROTE, READ = TokenUsage(cache_write_5m=1_000), TokenUsage(cache_read=1_000)
BOTH = TokenUsage(cache_read=1_000, cache_write_5m=500)


def _prefix(name, blocks=1):
    return Prefix(digest=name.encode().ljust(16, b"\0"), tokens=2_000, place=PartPlace(0, blocks), blocks=blocks)


def _plan(*, stable=(), earlier=(), turn=None, marked=(), owner="me"):
    prefixes = Prefixes(stable=tuple(stable), earlier=tuple(earlier), turn=turn)
    return PromptPlan(prefixes=prefixes, marked=tuple(marked), terms=Terms(owner=owner))


SYSTEM, FIRST, SECOND, OTHER = _prefix("system"), _prefix("first", 3), _prefix("second", 5), _prefix("other", 3)


def _booked(lineage, plan, usage):
    return lineage.booked(plan, usage, premium_nanos=7)


def test_a_call_without_marks_has_no_prefix():
    """Nothing was marked, so nothing is named; what writes cost is said all the same."""
    assert _booked(PrefixLineage(), _plan(turn=FIRST), READ) == PrefixUse("", "", 7)


def test_a_conversation_reads_its_last_turn():
    """The second turn names what it wrote and what the first one wrote."""
    lineage = PrefixLineage()
    assert _booked(lineage, _plan(turn=FIRST, marked=[FIRST]), WROTE) == PrefixUse(short(FIRST), "", 7)
    second = _plan(earlier=[FIRST], turn=SECOND, marked=[SECOND])
    assert _booked(lineage, second, BOTH) == PrefixUse(short(SECOND), short(FIRST), 7)


def test_a_shared_beginning_is_read_from_the_first_that_wrote_it():
    """Two conversations share a system prompt: the second reads out of what the first wrote, and leaves it the first's."""
    lineage = PrefixLineage()
    _booked(lineage, _plan(stable=[SYSTEM], turn=FIRST, marked=[SYSTEM, FIRST]), WROTE)
    other = _plan(stable=[SYSTEM], turn=OTHER, marked=[SYSTEM, OTHER])
    assert _booked(lineage, other, BOTH).read_prefix == short(FIRST)
    third = _plan(stable=[SYSTEM], turn=SECOND, marked=[SYSTEM, SECOND])
    assert _booked(lineage, third, BOTH).read_prefix == short(FIRST)


def test_what_is_written_anew_is_its_last_writers():
    """After it has expired somebody else writes the shared beginning; reads are put down to that write."""
    lineage = PrefixLineage()
    _booked(lineage, _plan(stable=[SYSTEM], turn=FIRST, marked=[SYSTEM, FIRST]), WROTE)
    again = _booked(lineage, _plan(stable=[SYSTEM], turn=OTHER, marked=[SYSTEM, OTHER]), WROTE)
    assert again.read_prefix == short(FIRST)  # sent again, in vain
    third = _plan(stable=[SYSTEM], turn=SECOND, marked=[SYSTEM, SECOND])
    assert _booked(lineage, third, BOTH).read_prefix == short(OTHER)


def test_a_whole_read_after_a_restart_is_its_own():
    """A daemon that remembers nothing puts a read of all that was marked down to that prefix."""
    assert _booked(PrefixLineage(), _plan(turn=FIRST, marked=[FIRST]), READ).read_prefix == short(FIRST)


def test_caches_are_apart():
    """What one scope or model wrote another one does not read."""
    lineage = PrefixLineage()
    _booked(lineage, _plan(turn=FIRST, marked=[FIRST]), WROTE)
    elsewhere = _plan(earlier=[FIRST], turn=SECOND, marked=[SECOND], owner="another")
    assert _booked(lineage, elsewhere, BOTH).read_prefix == ""


def test_a_mark_that_was_not_heeded_wrote_nothing():
    """Nothing written and nothing read: the prefix is named, and nothing is remembered as kept."""
    lineage = PrefixLineage()
    plan = _plan(turn=FIRST, marked=[FIRST])
    assert _booked(lineage, plan, TokenUsage(input=9)) == PrefixUse(short(FIRST), "", 7)
    assert _booked(lineage, replace(plan, marked=()), TokenUsage(input=9)).read_prefix == ""


def test_the_oldest_are_forgotten():
    """Memory is bounded; what was used last stays."""
    lineage = PrefixLineage(most=1)
    _booked(lineage, _plan(turn=FIRST, marked=[FIRST]), WROTE)
    _booked(lineage, _plan(turn=OTHER, marked=[OTHER]), WROTE)
    assert _booked(lineage, _plan(earlier=[FIRST], turn=SECOND), READ).read_prefix == ""
    assert _booked(lineage, _plan(earlier=[OTHER], turn=SECOND), READ).read_prefix == short(OTHER)
