"""The bookkeeping of Google's explicit caches: once each, not past their end, bounded, and never in a call's way."""

import asyncio

import pytest
from aigend.providers.gemini import caches as gemini_caches
from aigend.providers.gemini.caches import Creation, ExplicitCaches, Kept
from aigend.types import TokenUsage

CONTENT = {"model": "models/m", "contents": []}


class Maker:
    """Makes caches, and says how often; a clock stands beside it."""

    def __init__(self) -> None:
        self.made: list[dict] = []
        self.now = 100.0
        self.fails = False
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.caches = ExplicitCaches(self.create, now=lambda: self.now)

    async def create(self, content: dict, ttl_s: int) -> Kept | None:
        """Make a cache, or fail, once it may go on."""
        self.made.append(content)
        await self.go_on.wait()
        return None if self.fails else Kept(f"cachedContents/{len(self.made)}", Creation(7, ttl_s))

    async def find(self, content: dict = CONTENT, *, ttl_s: int = 300, patience_s: float = 10.0) -> Kept | None:
        """Return the cache of some content."""
        return await self.caches.find(content, ttl_s=ttl_s, patience_s=patience_s)


@pytest.fixture
async def maker() -> Maker:
    """Return a maker on this loop."""
    return Maker()


async def test_equal_content_has_one_cache(maker: Maker) -> None:
    """The order of keys makes no other content; another text does."""
    first = await maker.find()
    assert await maker.find(dict(reversed(CONTENT.items()))) is first
    assert await maker.find(CONTENT | {"contents": ["other"]}) is not first
    assert len(maker.made) == 2


async def test_a_cache_is_not_used_to_its_very_end(maker: Maker) -> None:
    """Shortly before its time is over, counted from before it was asked for, a cache is made anew."""
    first = await maker.find()
    maker.now += 294
    assert await maker.find() is first
    maker.now += 1
    assert await maker.find() is not first


async def test_calls_at_once_make_one(maker: Maker) -> None:
    """Whoever comes while a cache is being made waits for that one."""
    maker.go_on.clear()
    finding = [asyncio.create_task(maker.find()) for _ in range(3)]
    await asyncio.sleep(0)
    maker.go_on.set()
    assert len({await task for task in finding}) == 1
    assert len(maker.made) == 1


async def test_patience_ends_and_the_creation_goes_on(maker: Maker) -> None:
    """A call that will not wait, or is cancelled, does without; the next finds what was made."""
    maker.go_on.clear()
    assert await maker.find(patience_s=0.01) is None
    leaving = asyncio.create_task(maker.find())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    maker.go_on.set()
    assert await maker.find() is not None
    assert len(maker.made) == 1


async def test_what_could_not_be_made_is_left_alone_for_a_while(maker: Maker) -> None:
    """A failed creation is not tried again by each call, but later."""
    maker.fails = True
    assert await maker.find() is None
    maker.fails = False
    assert await maker.find() is None
    maker.now += 301
    assert await maker.find() is not None


async def test_a_forgotten_cache_is_made_anew(maker: Maker) -> None:
    """What the provider does not know is handed out no more, and forgetting twice is harmless."""
    first = await maker.find()
    maker.caches.forget(first)
    maker.caches.forget(first)
    assert await maker.find() is not first


async def test_what_is_remembered_is_bounded(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest unused is forgotten first."""
    monkeypatch.setattr(gemini_caches, "MOST_KEPT", 2)
    first = await maker.find({"n": 0})
    await maker.find({"n": 1})
    assert await maker.find({"n": 0}) is first
    await maker.find({"n": 2})
    assert len(maker.caches) == 2
    assert await maker.find({"n": 0}) is first
    await maker.find({"n": 1})
    assert len(maker.made) == 4


async def test_closing_gives_up_what_is_under_way(maker: Maker) -> None:
    """A creation that hangs keeps nobody from closing."""
    maker.go_on.clear()
    finding = asyncio.create_task(maker.find())
    await asyncio.sleep(0)
    await maker.caches.aclose()
    assert await finding is None
    await maker.caches.aclose()


@pytest.mark.parametrize(
    ("made", "ttl_s", "usage"),
    [
        ({"usageMetadata": {"totalTokenCount": 70}}, 300, TokenUsage(input=1, cache_read=60, cache_write_5m=70)),
        ({"usageMetadata": {"totalTokenCount": 70}}, 3_600, TokenUsage(input=1, cache_read=60, cache_write_1h=70)),
        ({"usageMetadata": {"totalTokenCount": True}}, 300, TokenUsage(input=1, cache_read=60, cache_write_5m=60)),
        ({}, 300, TokenUsage(input=1, cache_read=60, cache_write_5m=60)),
    ],
)
def test_a_creation_is_written_tokens(made: dict, ttl_s: int, usage: TokenUsage) -> None:
    """What was stored counts as written, for its time; without a count it is what is read."""
    assert Creation.of(made, ttl_s).added_to(TokenUsage(input=1, cache_read=60)) == usage
