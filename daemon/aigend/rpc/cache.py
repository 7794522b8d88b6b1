"""CacheService: what the response cache holds, how it does, and how it is cleared."""

import re
from collections.abc import Callable
from itertools import islice

from aigen.v1 import cache_pb2 as pb
from aigen.v1 import completion_pb2

from aigend.cache.entry import CacheEntryInfo, CacheFilter
from aigend.cache.manager import CacheManager
from aigend.completion.snapshot import Snapshot
from aigend.errors import DomainError, Reason, invalid
from aigend.rpc.answer_codec import WireCodec
from aigend.rpc.caller import LOCAL_SCOPE
from aigend.rpc.paging import check_page_size, pack_number, unpack_number
from aigend.rpc.times import seconds_of, timestamp
from aigend.scheduling.prompt_cache.decisions import DecisionRow, Decisions

KEY_BYTES = 32
_KEY_PREFIX = re.compile(r"[0-9a-fA-F]{0,64}\Z")


class CacheServicer:
    """Shows and clears the cache.

    Args:
        cache: The response cache.
        codec: Spells stored answers.
        snapshot: Returns the settings in force, which say whether the cache is on.
        decisions: What was decided about the providers' prompt caches.
    """

    def __init__(self, cache: CacheManager, codec: WireCodec, *, snapshot: Callable[[], Snapshot], decisions: Decisions) -> None:
        self._cache = cache
        self._codec = codec
        self._snapshot = snapshot
        self._decisions = decisions

    async def get_cache_stats(self, _: pb.GetCacheStatsRequest) -> pb.GetCacheStatsResponse:
        """Say how large the cache is and how well it does."""
        stats = await self._cache.stats(LOCAL_SCOPE)
        return pb.GetCacheStatsResponse(
            entry_count=stats.entry_count,
            size_bytes=stats.size_bytes,
            max_size_bytes=stats.max_size_bytes,
            hit_count=stats.hit_count,
            miss_count=stats.miss_count,
            eviction_count=stats.eviction_count,
            expiration_count=stats.expiration_count,
            mean_hit_latency_us=stats.mean_hit_latency_us,
            memory_entry_count=stats.memory_entry_count,
            memory_size_bytes=stats.memory_size_bytes,
            storing=stats.storing and self._snapshot().settings.features.cache,
        )

    async def list_cache_entries(self, request: pb.ListCacheEntriesRequest) -> pb.ListCacheEntriesResponse:
        """List entries."""
        page = await self._cache.entries(
            LOCAL_SCOPE, _filter(request.filter), page_size=check_page_size(request.page_size), page_token=request.page_token
        )
        return pb.ListCacheEntriesResponse(entries=[_pack(entry) for entry in page.entries], next_page_token=page.next_page_token)

    async def get_cache_entry(self, request: pb.GetCacheEntryRequest) -> pb.GetCacheEntryResponse:
        """Return one entry with its answer."""
        if len(request.key) != KEY_BYTES:
            raise invalid("key", f"{len(request.key)} bytes", f"{KEY_BYTES} bytes")
        found = await self._cache.entry(LOCAL_SCOPE, request.key)
        if found is None:
            raise DomainError(Reason.NOT_FOUND, f"no cache entry has the key {request.key.hex()}", key=request.key.hex())
        info, answer = found
        response = completion_pb2.CompleteResponse.FromString(self._codec.encode_answer(answer, request.key))
        return pb.GetCacheEntryResponse(entry=_pack(info), response=response)

    async def clear_cache(self, request: pb.ClearCacheRequest) -> pb.ClearCacheResponse:
        """Remove the entries that match."""
        cleared = await self._cache.clear(LOCAL_SCOPE, _filter(request.filter), validate_only=request.validate_only)
        return pb.ClearCacheResponse(entry_count=cleared.entry_count, size_bytes=cleared.size_bytes)

    async def list_prefix_decisions(self, request: pb.ListPrefixDecisionsRequest) -> pb.ListPrefixDecisionsResponse:
        """List what was decided about prefixes."""
        size, before = check_page_size(request.page_size), unpack_number(request.page_token)
        wanted = (row for row in self._decisions.latest(LOCAL_SCOPE, before=before) if _is_wanted(row, request))
        rows = list(islice(wanted, size + 1))
        token = pack_number(rows[size - 1].number) if len(rows) > size else ""
        return pb.ListPrefixDecisionsResponse(decisions=[_pack_decision(row) for row in rows[:size]], next_page_token=token)


def _is_wanted(row: DecisionRow, request: pb.ListPrefixDecisionsRequest) -> bool:
    asked = ((request.provider, row.provider), (request.model, row.model), (request.service, row.service))
    return all(wanted in ("", found) for wanted, found in asked)


def _pack_decision(row: DecisionRow) -> pb.PrefixDecision:
    return pb.PrefixDecision(
        create_time=timestamp(row.time),
        request_id=row.request_id,
        provider=row.provider,
        model=row.model,
        service=row.service,
        decision=row.decision,
        prefix=row.prefix,
        tokens=row.tokens,
        mark_count=row.mark_count,
        ttl_seconds=row.ttl_s,
        reason=row.reason,
        expected_gain_usd_nanos=row.expected_gain_nanos,
        premium_usd_nanos=row.premium_nanos,
    )


def _filter(message: pb.CacheFilter) -> CacheFilter:
    if not _KEY_PREFIX.match(message.key_prefix):
        raise invalid("filter.key_prefix", message.key_prefix, "at most 64 hexadecimal digits")
    older_than_s = seconds_of(message.older_than) if message.HasField("older_than") else None
    if older_than_s is not None and older_than_s < 0:
        raise invalid("filter.older_than", f"{older_than_s} s", "0 s or more")
    return CacheFilter(
        provider=message.provider,
        model=message.model,
        agent=message.agent,
        phase=message.phase,
        service=message.service,
        namespace=message.namespace,
        older_than_s=older_than_s,
        key_prefix=message.key_prefix.lower(),
    )


def _pack(entry: CacheEntryInfo) -> pb.CacheEntry:
    return pb.CacheEntry(
        key=entry.key,
        provider=entry.route.provider,
        model=entry.route.model,
        agent=entry.agent,
        phase=entry.phase,
        service=entry.service,
        namespace=entry.namespace,
        size_bytes=entry.size_bytes,
        create_time=timestamp(entry.create_time),
        expire_time=timestamp(entry.expire_time),
        last_use_time=timestamp(entry.last_use_time),
        hit_count=entry.hit_count,
        saved_per_hit_usd_nanos=entry.saved_nanos,
    )
