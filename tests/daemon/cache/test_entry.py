"""Filters and freshness."""

import pytest
from aigend.cache.entry import ALL, CacheFilter
from aigend.errors import DomainError
from aigend.types import Route

from tests.daemon.cache.entries import DAY, NOW, entry, key

STORED = entry(namespace="n", agent="a", phase="p", service="s", route=Route("o", "m"))


@pytest.mark.parametrize(
    "fields",
    [
        *({name: value} for name, value in {"provider": "o", "model": "m", "agent": "a", "phase": "p"}.items()),
        *({name: value} for name, value in {"service": "s", "namespace": "n", "older_than_s": 9.0}.items()),
        {"key_prefix": key("one").hex()[:3]},
        {"key_prefix": key("one").hex().upper()},
        {"provider": "o", "model": "m", "older_than_s": 9.0},
    ],
)
def test_a_filter_selects_what_matches_all_of_it(fields: dict[str, object]) -> None:
    """An entry matches each of its own values, and none of another."""
    assert CacheFilter(**fields).matches(STORED, now=NOW + 10)  # type: ignore[arg-type]
    other = {name: 11.0 if isinstance(value, float) else "0" * 64 for name, value in fields.items()}
    assert not CacheFilter(**other).matches(STORED, now=NOW + 10)  # type: ignore[arg-type]


def test_an_empty_filter_selects_everything() -> None:
    """Nothing set matches all."""
    assert ALL.matches(STORED, now=NOW)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"older_than_s": -1.0}, "filter.older_than"),
        ({"older_than_s": float("nan")}, "filter.older_than"),
        ({"key_prefix": "xyz"}, "filter.key_prefix"),
        ({"key_prefix": "0" * 65}, "filter.key_prefix"),
    ],
)
def test_a_bad_filter_is_refused(fields: dict[str, object], field: str) -> None:
    """The error names the field."""
    with pytest.raises(DomainError) as refused:
        CacheFilter(**fields)  # type: ignore[arg-type]
    assert refused.value.metadata["field"] == field


def test_an_entry_is_fresh_for_its_time() -> None:
    """Freshness ends at the expiry, and does not grow when the clock goes back."""
    stored = entry(ttl_s=10)
    assert [stored.fresh(now) for now in (NOW, NOW + 9.9, NOW + 10, NOW - 30 * DAY)] == [True, True, False, False]
