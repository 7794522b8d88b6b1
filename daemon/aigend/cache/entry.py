"""What is kept and what is told about it: entries, filters, pages and counts. Values only, nothing that reads or writes."""

from dataclasses import dataclass

from aigend.errors import invalid
from aigend.types import Answer, Route

KEY_DIGITS = 64
CLOCK_SLACK_S = 60.0  # an entry made further ahead than this comes from a clock that was wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """An answer under its key, and who asked for it how; times are wall clock, seconds since 1970."""

    key: bytes
    scope: str
    namespace: str
    route: Route
    agent: str
    phase: str
    service: str
    create_time: float
    expire_time: float
    answer: Answer

    def fresh(self, now: float) -> bool:
        """Return whether the entry may still answer."""
        return self.create_time - CLOCK_SLACK_S <= now < self.expire_time


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntryInfo:
    """What is told about a stored entry; the answer is not in it."""

    key: bytes
    namespace: str
    route: Route
    agent: str
    phase: str
    service: str
    size_bytes: int
    create_time: float
    expire_time: float
    last_use_time: float
    hit_count: int
    saved_nanos: int | None  # by one hit; None: unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFilter:
    """Selects entries; one must match all that is set.

    Raises:
        DomainError: INVALID_REQUEST naming the field.
    """

    provider: str = ""
    model: str = ""
    agent: str = ""
    phase: str = ""
    service: str = ""
    namespace: str = ""
    older_than_s: float | None = None
    key_prefix: str = ""  # hexadecimal digits

    def __post_init__(self) -> None:
        if self.older_than_s is not None and not self.older_than_s >= 0:
            raise invalid("filter.older_than", f"{self.older_than_s} s", "0 s or more")
        if len(self.key_prefix) > KEY_DIGITS or not set(self.key_prefix) <= set("0123456789abcdefABCDEF"):
            raise invalid("filter.key_prefix", self.key_prefix, f"at most {KEY_DIGITS} hexadecimal digits")

    def matches(self, entry: CacheEntry, *, now: float) -> bool:
        """Return whether an entry is selected at a time."""
        return (
            self.provider in ("", entry.route.provider)
            and self.model in ("", entry.route.model)
            and self.agent in ("", entry.agent)
            and self.phase in ("", entry.phase)
            and self.service in ("", entry.service)
            and self.namespace in ("", entry.namespace)
            and (self.older_than_s is None or entry.create_time < now - self.older_than_s)
            and (not self.key_prefix or entry.key.hex().startswith(self.key_prefix.lower()))
        )


ALL = CacheFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What a clear removed, or would."""

    entry_count: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a listing, newest first; an empty token ends it."""

    entries: tuple[CacheEntryInfo, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """How large the cache is and how well it does; counts since the daemon started, unless they are of what is stored."""

    entry_count: int  # stored, of one scope
    size_bytes: int  # stored, of all scopes
    max_size_bytes: int
    hit_count: int
    miss_count: int
    eviction_count: int
    expiration_count: int
    damaged_count: int
    mean_hit_latency_us: float | None  # None: no hit yet
    memory_entry_count: int
    memory_size_bytes: int
    storing: bool  # False: the disk failed and answers pass through
