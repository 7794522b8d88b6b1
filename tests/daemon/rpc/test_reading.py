"""CacheService, UsageService, ModelService and health through a real socket."""

import datetime
from decimal import Decimal

import aigen
import grpc
import pytest
from aigen.v1 import cache_pb2, cache_pb2_grpc, usage_pb2, usage_pb2_grpc
from aigend.assembly import make_listener
from aigend.clock import SystemClock
from aigend.scheduling.prompt_cache.decisions import DecisionRow
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.serving import MODEL, House


async def _all(iterator) -> list:
    return [item async for item in iterator]


@pytest.fixture
async def used(house: House) -> House:
    """A daemon with three entries, one of them hit, in two namespaces."""
    with house.client.session("s-1", service="flow", phase=2, labels={"team": "red"}):
        await house.client.complete("one", model=MODEL)
    await house.client.complete("two", model=MODEL, namespace="other")
    await house.client.complete("three", model="gpt-4o")
    await house.client.complete("three", model="gpt-4o")
    await house.daemon._parts.sharing.settled()
    return house


async def test_entries_are_listed_newest_first_in_pages(used: House):
    """Pages join to the whole list; a filter narrows it."""
    entries = await _all(used.client.cache_entries(page_size=1))
    assert [entry.model for entry in entries] == ["gpt-4o", MODEL, MODEL]
    assert [entry.namespace for entry in await _all(used.client.cache_entries(namespace="other"))] == ["other"]
    assert [entry.service for entry in await _all(used.client.cache_entries(service="flow"))] == ["flow"]
    assert all(entry.size_bytes > 0 and entry.saved_per_hit_usd_nanos > 0 for entry in entries)


async def test_entry_is_shown_with_its_answer(used: House):
    """By its key an entry brings the answer; a key that is not there is NOT_FOUND, one that is none INVALID_REQUEST."""
    answer = await used.client.complete("three", model="gpt-4o")
    entry = await used.client.cache_entry(answer.cache_key)
    assert (entry.answer.text, entry.key) == (answer.text, answer.cache_key)
    with pytest.raises(aigen.NotFound):
        await used.client.cache_entry("00" * 32)
    async with grpc.aio.insecure_channel(f"unix:{used.socket}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as met:
            await cache_pb2_grpc.CacheServiceStub(channel).GetCacheEntry(cache_pb2.GetCacheEntryRequest(key=b"short"))
        assert met.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_prefix_decisions_are_listed_latest_first_in_pages(house: House):
    """Pages join to the whole list of the caller's scope; filters narrow it, and a bad page size is refused."""
    decisions = house.daemon._parts.prompts.decisions
    usual = {"time": 1.0, "decision": "adaptive", "prefix": "ab", "tokens": 5, "mark_count": 1, "ttl_s": 300, "reason": "why"}
    usual |= {"provider": "anthropic", "model": "m", "premium_nanos": 2, "expected_gain_nanos": 7}
    for number, (scope, service) in enumerate([("local", "a"), ("local", "b"), ("other", "b"), ("local", "b")], 1):
        decisions.add(DecisionRow(number=number, scope=scope, service=service, request_id=f"r{number}", **usual))
    listed = await _all(house.client.prefix_decisions(page_size=1))
    assert [decision.request_id for decision in listed] == ["r4", "r2", "r1"]
    assert (listed[0].ttl_seconds, listed[0].expected_gain_usd_nanos, listed[0].reason) == (300, 7, "why")
    assert [decision.request_id for decision in await _all(house.client.prefix_decisions(service="b"))] == ["r4", "r2"]
    assert await _all(house.client.prefix_decisions(model="another")) == []
    with pytest.raises(aigen.InvalidRequest):
        await _all(house.client.prefix_decisions(page_size=-1))


async def test_cache_statistics(used: House):
    """Entries, bytes, hits and misses are counted."""
    stats = await used.client.cache_stats()
    assert (stats.entry_count, stats.hit_count, stats.miss_count, stats.storing) == (3, 1, 3, True)
    assert 0 < stats.size_bytes < stats.max_size_bytes


async def test_clear_counts_first_and_then_removes(used: House):
    """`validate_only` counts what would go; without it that goes, and nothing else."""
    would = await used.client.clear_cache(validate_only=True, model=MODEL)
    assert (would.entry_count, (await used.client.cache_stats()).entry_count) == (2, 3)
    assert (await used.client.clear_cache(model=MODEL)).entry_count == 2
    assert [entry.model for entry in await _all(used.client.cache_entries())] == ["gpt-4o"]
    assert (await used.client.clear_cache(older_than=3_600)).entry_count == 0


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (cache_pb2.ListCacheEntriesRequest(page_size=-1), "page_size"),
        (cache_pb2.ListCacheEntriesRequest(page_token="nonsense"), "page_token"),
        (cache_pb2.ListCacheEntriesRequest(filter=cache_pb2.CacheFilter(key_prefix="xyz")), "filter.key_prefix"),
        (cache_pb2.ListCacheEntriesRequest(filter=cache_pb2.CacheFilter(older_than={"seconds": -1})), "filter.older_than"),
    ],
)
async def test_bad_list_requests_name_the_field(house: House, request_: cache_pb2.ListCacheEntriesRequest, field: str):
    """A negative size, a token of somebody else and a filter that can't match are refused."""
    async with grpc.aio.insecure_channel(f"unix:{house.socket}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as met:
            await cache_pb2_grpc.CacheServiceStub(channel).ListCacheEntries(request_)
        assert met.value.details().startswith(field)


async def test_stats_by_group_and_filter(used: House):
    """Sums come by group, dearest first, and for what a filter matches."""
    stats = await used.client.stats(period="all", group_by=["model", "session"])
    assert {row.group for row in stats.rows} == {(MODEL, "s-1"), (MODEL, ""), ("gpt-4o", "")}
    assert stats.totals.call_count == 4
    assert stats.totals.latency.p50_us > 0
    assert sum(row.totals.cost_usd_nanos for row in stats.rows) == stats.totals.cost_usd_nanos
    assert (await used.client.stats(labels={"team": "red"})).totals.call_count == 1
    now = datetime.datetime.now(datetime.UTC)
    later = await used.client.stats(start_time=now + datetime.timedelta(days=1), end_time=now + datetime.timedelta(days=2))
    assert (later.totals.call_count, later.totals.latency) == (0, None)


async def test_bad_statistics_requests_name_the_field(house: House):
    """A group that is no group, a time zone that is none."""
    async with grpc.aio.insecure_channel(f"unix:{house.socket}") as channel:
        stub = usage_pb2_grpc.UsageServiceStub(channel)
        for request, field in (
            (usage_pb2.GetStatsRequest(group_by=[0]), "group_by[0]"),
            (usage_pb2.GetStatsRequest(time_zone="Mars/Base"), "time_zone"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as met:
                await stub.GetStats(request)
            assert met.value.details().startswith(field)


async def test_ledger_entries_tell_each_charge(used: House):
    """An entry says who asked, what was used and what it cost."""
    entries = await _all(used.client.ledger_entries(page_size=2, states=["settled"]))
    assert [entry.model for entry in entries] == ["gpt-4o", MODEL, MODEL]
    first = entries[-1]
    assert (first.session, first.service, first.phase, first.labels) == ("s-1", "flow", "2", {"team": "red"})
    assert (first.attempt_number, str(first.state), str(first.cost_basis)) == (1, "settled", "priced")
    assert first.usage.output_tokens > 0
    assert await _all(used.client.ledger_entries(states=["released"])) == []


async def test_models_with_their_prices(house: House):
    """The catalog is listed in pages and by name; what is not configured is marked."""
    models = await _all(house.client.models(page_size=7))
    assert len({(model.provider, model.id) for model in models}) == len(models) > 7
    mini = await house.client.model(MODEL)
    assert (mini.price.input, mini.price.output, mini.available) == (Decimal(150), Decimal(600), True)
    assert all(model.provider == "openai" for model in await _all(house.client.models(provider="openai")))
    assert any(not model.available for model in models)
    with pytest.raises(aigen.UnknownModel):
        await house.client.model("no-such-model")


async def test_health_follows_the_daemon(house: House):
    """SERVING for each service while calls are admitted."""
    async with grpc.aio.insecure_channel(f"unix:{house.socket}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        told = await stub.Check(health_pb2.HealthCheckRequest(service="aigen.v1.CacheService"))
    assert told.status == health_pb2.HealthCheckResponse.SERVING


async def test_socket_that_can_not_be_bound_is_said(house: House):
    """A path in a directory that is not there is an error that names it, not a daemon that nobody reaches."""
    listener = make_listener(house.daemon._parts, house.daemon, refresher=house.daemon._refresher, clock=SystemClock())
    with pytest.raises(OSError, match=f"socket {house.folder}/none/s can't be bound"):
        await listener.start(house.folder / "none" / "s")
