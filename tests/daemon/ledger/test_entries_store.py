"""The list of ledger entries."""

import base64
import json

import pytest
from aigend.errors import DomainError
from aigend.ledger.entries import AttemptState
from aigend.ledger.entries_store import EntriesQuery, list_entries
from aigend.ledger.statistics.query import UsageFilter
from aigend.types import CacheOutcome, CostBasis, SavingsCause, TokenUsage

from tests.daemon.ledger.ledger_rows import add_attempt, empty_ledger


def _page(ledger, **fields):
    return list_entries(ledger, EntriesQuery(scope="me", **fields))


def _numbers(page):
    return [int(entry.id) for entry in page.entries]


def test_entry_has_all_its_facts():
    """An entry carries what its row says."""
    ledger = empty_ledger()
    add_attempt(
        ledger,
        at=1_000.5,
        request_id="r1",
        provider="openai",
        model="gpt-4o",
        resolved_model="gpt-4o-2024-08-06",
        agent="chatgpt",
        service="flow",
        session="run-1",
        phase="2",
        task="t",
        labels={"team": "x"},
        outcome="refresh",
        input_tokens=7,
        cache_read_tokens=1,
        cache_write_5m_tokens=2,
        cache_write_1h_tokens=3,
        output_tokens=5,
        reasoning_tokens=4,
        searches=6,
        provider_usage_json='{"a":1}',
        cost_nanos=9,
        cost_basis="estimated",
        price_entry_id="p",
        flags=["usage_missing"],
        provider_us=77,
        savings={"prompt_cache": -3},
    )
    (entry,) = _page(ledger).entries
    assert entry.usage == TokenUsage(input=7, cache_read=1, cache_write_5m=2, cache_write_1h=3, output=5, reasoning=4, searches=6)
    assert (entry.request_id, entry.provider, entry.model, entry.resolved_model) == ("r1", "openai", "gpt-4o", "gpt-4o-2024-08-06")
    assert (entry.agent, entry.service, entry.session, entry.phase, entry.task) == ("chatgpt", "flow", "run-1", "2", "t")
    assert (entry.labels, entry.outcome, entry.flags) == ({"team": "x"}, CacheOutcome.REFRESH, ("usage_missing",))
    assert (entry.cost.nanos, entry.cost.basis, entry.cost.price_entry_id) == (9, CostBasis.ESTIMATED, "p")
    assert (entry.create_time, entry.update_time, entry.provider_us) == (1_000.5, 1_000.500005, 77)
    assert (entry.savings, entry.provider_usage_json) == ({SavingsCause.PROMPT_CACHE: -3}, '{"a":1}')
    assert (entry.state, entry.attempt_number, entry.reserved_nanos) == (AttemptState.SETTLED, 1, 0)


def test_held_cost_follows_the_state():
    """An open attempt holds its reservation, an unknown one its upper bound, an ended one nothing."""
    ledger = empty_ledger()
    for at, state in enumerate(("sent", "unknown", "released")):
        add_attempt(ledger, at=at, state=state, unknown_high_nanos=800 if state == "unknown" else None)
    held = {entry.state: entry.reserved_nanos for entry in _page(ledger).entries}
    assert held == {AttemptState.SENT: 1_000, AttemptState.UNKNOWN: 800, AttemptState.RELEASED: 0}
    assert all(entry.usage is None for entry in _page(ledger).entries)
    cost = {entry.state: entry.cost.nanos for entry in _page(ledger).entries}
    assert cost == {AttemptState.SENT: None, AttemptState.UNKNOWN: None, AttemptState.RELEASED: 0}


def test_pages_cover_the_list_once_newest_first():
    """Page after page gives every entry once, newest first, also where many share one moment."""
    ledger = empty_ledger()
    ids = [add_attempt(ledger, at=number // 4) for number in range(11)]
    seen, token = [], ""
    for _ in range(10):
        page = _page(ledger, page_size=3, page_token=token)
        seen += _numbers(page)
        token = page.next_page_token
        if not token:
            break
    assert seen == ids[::-1]


def test_entries_that_arrive_meanwhile_do_not_shift_pages():
    """A new entry between two pages neither repeats nor hides one."""
    ledger = empty_ledger()
    ids = [add_attempt(ledger, at=number) for number in range(4)]
    first = _page(ledger, page_size=2)
    add_attempt(ledger, at=99)
    second = _page(ledger, page_size=2, page_token=first.next_page_token)
    assert _numbers(first) + _numbers(second) == ids[::-1]
    assert second.next_page_token == ""


def test_filters_narrow_the_list():
    """Account, labels, time, state and request id each narrow the list; other scopes are never in it."""
    ledger = empty_ledger()
    one = add_attempt(ledger, at=10, model="a", labels={"team": "x"}, request_id="r1")
    two = add_attempt(ledger, at=20, model="b", state="unknown")
    add_attempt(ledger, at=20, scope="them")
    assert _numbers(_page(ledger)) == [two, one]
    assert _numbers(_page(ledger, filter=UsageFilter(model="a"))) == [one]
    assert _numbers(_page(ledger, filter=UsageFilter(labels={"team": "x"}))) == [one]
    assert _numbers(_page(ledger, start=20.0)) == [two]
    assert _numbers(_page(ledger, end=20.0)) == [one]
    assert _numbers(_page(ledger, request_id="r1")) == [one]
    assert _numbers(_page(ledger, states=(AttemptState.UNKNOWN, AttemptState.SENT))) == [two]


def test_page_size_is_bounded():
    """Zero is fifty, more than a thousand is a thousand, less than nothing is refused."""
    ledger = empty_ledger()
    for number in range(1_005):
        add_attempt(ledger, at=number)
    assert len(_page(ledger).entries) == 50
    assert len(_page(ledger, page_size=5_000).entries) == 1_000
    with pytest.raises(DomainError, match="page_size is -1; allowed: 0 to 1000"):
        _page(ledger, page_size=-1)


def _spoilt_tokens():
    good = [1_000_000, 1, "0" * 16]
    for value in ("!", "x", "é", good, [1, 2], {"a": 1}, None, ["1", 1, "0"]):
        yield value if isinstance(value, str) else base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize("token", list(_spoilt_tokens()))
def test_strange_token_is_refused(token):
    """A token that this list did not give is refused by its field."""
    with pytest.raises(DomainError, match="page_token"):
        _page(empty_ledger(), page_token=token)


def test_token_of_another_list_is_refused():
    """A token holds for the list it came from: another filter or scope refuses it, another page size does not."""
    ledger = empty_ledger()
    for number in range(3):
        add_attempt(ledger, at=number)
    token = _page(ledger, page_size=1).next_page_token
    assert len(_page(ledger, page_size=2, page_token=token).entries) == 2
    with pytest.raises(DomainError, match="page_token"):
        _page(ledger, page_token=token, filter=UsageFilter(model="a"))
    with pytest.raises(DomainError, match="page_token"):
        list_entries(ledger, EntriesQuery(scope="them", page_token=token))


def test_range_without_length_is_refused():
    """An end before the start names the field."""
    with pytest.raises(DomainError, match="end_time"):
        _page(empty_ledger(), start=2.0, end=1.0)
