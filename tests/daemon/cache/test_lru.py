"""Who goes when there is no room."""

from aigend.cache.lru import LruSizes, victims
from hypothesis import given
from hypothesis import strategies as st


def test_the_least_recently_used_goes_first() -> None:
    """A touched key outlives one that was put later."""
    sizes: LruSizes[str] = LruSizes(max_bytes=30)
    assert sizes.put("a", 10) == sizes.put("b", 10) == sizes.put("c", 10) == []
    sizes.touch("a")
    assert sizes.put("d", 15) == ["b", "c"]
    assert list(sizes) == ["a", "d"]
    assert sizes.size_bytes == 25


def test_what_fills_more_than_all_pushes_nobody_out() -> None:
    """A size above the limit is its own only victim, and its older self is gone."""
    sizes: LruSizes[str] = LruSizes(max_bytes=30)
    sizes.put("a", 10)
    sizes.put("b", 10)
    assert sizes.put("a", 31) == ["a"]
    assert (list(sizes), sizes.size_bytes) == (["b"], 10)


def test_victims_are_no_more_than_needed() -> None:
    """Nobody goes for an excess of nothing, all go where even that is too few."""
    assert victims([("a", 1)], excess=0) == []
    assert victims([("a", 1), ("b", 1)], excess=5) == ["a", "b"]


STEPS = st.lists(st.tuples(st.sampled_from("pdt"), st.integers(0, 5), st.integers(0, 40)), max_size=60)


@given(STEPS)
def test_the_sum_is_exact_and_within_the_limit(steps: list[tuple[str, int, int]]) -> None:
    """After every step the sum is that of what is held, and never above the limit."""
    sizes: LruSizes[int] = LruSizes(max_bytes=100)
    held: dict[int, int] = {}
    for step, key, size in steps:
        if step == "p":
            held[key] = size
            for victim in sizes.put(key, size):
                del held[victim]
        elif step == "d":
            sizes.drop(key)
            held.pop(key, None)
        elif key in held:
            sizes.touch(key)
        assert sizes.size_bytes == sum(held.values()) <= 100
        assert (set(sizes), len(sizes)) == (set(held), len(held))
