"""Cache, usage, model and daemon services over a real server: what they show, and which requests they refuse."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from aigen.v1 import cache_pb2, completion_pb2, daemon_pb2, message_pb2, model_pb2, usage_pb2
from aigend.providers.port import FaultKind, ProviderFault
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.daemon.rpc.served import Served, asked, failure, served

FAR = Timestamp(seconds=10**15)


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Served]:
    """A running front."""
    async with served(tmp_path) as running:
        yield running


class TestCache:
    """CacheService."""

    async def test_entries_are_listed_shown_and_cleared(self, front: Served) -> None:
        """What a call stored is listed, shown with its answer, counted by a dry run, and gone after a clear."""
        response = await front.completion.Complete(asked(agent="", phase="two", service="aigenflow", namespace="n"))
        await _stored(front)
        (entry,) = (await front.cache.ListCacheEntries(cache_pb2.ListCacheEntriesRequest())).entries
        assert (entry.key, entry.model, entry.phase, entry.namespace) == (response.cache_key, "model-1", "two", "n")
        assert entry.saved_per_hit_usd_nanos == response.cost_usd_nanos
        shown = await front.cache.GetCacheEntry(cache_pb2.GetCacheEntryRequest(key=entry.key))
        assert (shown.response.text, shown.response.request_id) == (response.text, "")
        chosen = cache_pb2.CacheFilter(key_prefix=entry.key.hex()[:6].upper(), service="aigenflow", older_than=Duration())
        for validate_only in (True, False):
            front.house.clock.advance(1)
            cleared = await front.cache.ClearCache(cache_pb2.ClearCacheRequest(filter=chosen, validate_only=validate_only))
            assert cleared.entry_count == 1
        assert not (await front.cache.ListCacheEntries(cache_pb2.ListCacheEntriesRequest())).entries

    @pytest.mark.parametrize(
        ("chosen", "field"),
        [
            (cache_pb2.CacheFilter(key_prefix="xyz"), "filter.key_prefix"),
            (cache_pb2.CacheFilter(key_prefix="a" * 65), "filter.key_prefix"),
            (cache_pb2.CacheFilter(older_than=Duration(seconds=-1)), "filter.older_than"),
        ],
    )
    async def test_bad_filter_is_named(self, front: Served, chosen: cache_pb2.CacheFilter, field: str) -> None:
        """A filter that can't be meant is refused by name, for listing and clearing."""
        for call in (
            front.cache.ListCacheEntries(cache_pb2.ListCacheEntriesRequest(filter=chosen)),
            front.cache.ClearCache(cache_pb2.ClearCacheRequest(filter=chosen)),
        ):
            assert (await failure(call)).metadata["field"] == field

    async def test_longest_age_selects_nothing(self, front: Served) -> None:
        """The largest duration that can be written is an age that no entry has."""
        await front.completion.Complete(asked())
        chosen = cache_pb2.CacheFilter(older_than=Duration(seconds=2**63 - 1))
        assert (await front.cache.ClearCache(cache_pb2.ClearCacheRequest(filter=chosen))).entry_count == 0

    async def test_malformed_and_unknown_keys_are_refused(self, front: Served) -> None:
        """A key that is no key is INVALID_REQUEST, one without an entry NOT_FOUND."""
        assert (await failure(front.cache.GetCacheEntry(cache_pb2.GetCacheEntryRequest(key=b"x")))).metadata["field"] == "key"
        missing = await failure(front.cache.GetCacheEntry(cache_pb2.GetCacheEntryRequest(key=b"x" * 32)))
        assert (missing.reason, missing.code) == ("NOT_FOUND", grpc.StatusCode.NOT_FOUND)

    async def test_pages_are_checked(self, front: Served) -> None:
        """A negative page size and a token of nobody's are refused."""
        negative = front.cache.ListCacheEntries(cache_pb2.ListCacheEntriesRequest(page_size=-1))
        assert (await failure(negative)).metadata["field"] == "page_size"
        foreign = front.cache.ListCacheEntries(cache_pb2.ListCacheEntriesRequest(page_token="%%"))
        assert (await failure(foreign)).metadata["field"] == "page_token"

    async def test_stats_count_look_ups(self, front: Served) -> None:
        """Hits, misses and sizes are those of the calls made."""
        for _ in range(3):
            await front.completion.Complete(asked())
        await _stored(front)
        stats = await front.cache.GetCacheStats(cache_pb2.GetCacheStatsRequest())
        assert (stats.entry_count, stats.hit_count, stats.miss_count, stats.storing) == (1, 2, 1, True)
        assert stats.HasField("mean_hit_latency_us")

    async def test_cache_that_is_switched_off_stores_nothing_and_says_so(self, tmp_path: Path) -> None:
        """With features.cache off `storing` is false."""
        async with served(tmp_path, features={"cache": False}) as front:
            assert not (await front.cache.GetCacheStats(cache_pb2.GetCacheStatsRequest())).storing


async def _stored(front: Served) -> None:
    await front.house.cache.write_kept()


class TestUsage:
    """UsageService."""

    async def test_stats_equal_the_calls(self, front: Served) -> None:
        """Sums by group are those of the calls made, with what hits saved."""
        responses = [await front.completion.Complete(asked(phase="one")) for _ in range(3)]
        request = usage_pb2.GetStatsRequest(group_by=[usage_pb2.GROUP_BY_OUTCOME], period=usage_pb2.PERIOD_TODAY)
        stats = await front.usage.GetStats(request)
        assert {row.group[0]: row.totals.call_count for row in stats.rows} == {"hit": 2, "miss": 1}
        assert stats.totals.cost_usd_nanos == responses[0].cost_usd_nanos
        assert stats.totals.savings[0].saved_usd_nanos == 2 * responses[0].cost_usd_nanos
        assert stats.totals.latency.p50_us >= 0
        assert stats.time_zone == "UTC"

    async def test_empty_stats_say_what_is_not_known(self, front: Served) -> None:
        """Without calls there is no latency and no first moment."""
        stats = await front.usage.GetStats(usage_pb2.GetStatsRequest(time_zone="Asia/Seoul"))
        assert (stats.totals.call_count, stats.HasField("start_time"), stats.totals.HasField("latency")) == (0, False, False)

    @pytest.mark.parametrize(
        ("request_", "field"),
        [
            (usage_pb2.GetStatsRequest(group_by=[0]), "group_by[0]"),
            (usage_pb2.GetStatsRequest(group_by=[99]), "group_by[0]"),
            (usage_pb2.GetStatsRequest(period=99), "period"),
            (usage_pb2.GetStatsRequest(period=1, start_time=Timestamp(seconds=1)), "period"),
            (usage_pb2.GetStatsRequest(time_zone="Mars/Base"), "time_zone"),
            (usage_pb2.GetStatsRequest(label_key="team"), "label_key"),
            (usage_pb2.GetStatsRequest(start_time=FAR), "start_time"),
            (usage_pb2.GetStatsRequest(end_time=Timestamp(nanos=-1)), "end_time"),
        ],
    )
    async def test_bad_stats_request_is_named(self, front: Served, request_: usage_pb2.GetStatsRequest, field: str) -> None:
        """A question that can't be meant is refused by name, never a defect."""
        refused = await failure(front.usage.GetStats(request_))
        assert (refused.reason, refused.metadata["field"]) == ("INVALID_REQUEST", field)

    async def test_settled_and_released_attempts_are_listed(self, front: Served) -> None:
        """A settled entry has its cost; a released one cost nothing, which is known."""
        front.house.one.will(ProviderFault(FaultKind.REJECTED, "no", provider="one", status=400))
        await failure(front.completion.Complete(asked("refused")))
        front.house.clock.advance(1)
        response = await front.completion.Complete(asked(), metadata=(("aigen-request-id", "id"),))
        settled, released = (await front.usage.ListLedgerEntries(usage_pb2.ListLedgerEntriesRequest())).entries
        assert (settled.id, settled.request_id, settled.cost_usd_nanos) == (
            response.ledger_entry_id,
            "id",
            response.cost_usd_nanos,
        )
        assert settled.state == message_pb2.ATTEMPT_STATE_SETTLED
        assert settled.usage.input_tokens == 10
        assert (released.state, released.reserved_usd_nanos) == (message_pb2.ATTEMPT_STATE_RELEASED, 0)
        assert released.HasField("cost_usd_nanos")
        assert (released.cost_usd_nanos, released.cost_basis) == (0, completion_pb2.COST_BASIS_UNSPECIFIED)

    async def test_unknown_attempt_has_no_known_cost(self, front: Served) -> None:
        """An attempt whose outcome is unknown shows what is held and no cost."""
        front.house.one.will(ProviderFault(FaultKind.RESET, "reset", provider="one"))
        await failure(front.completion.Complete(asked()))
        request = usage_pb2.ListLedgerEntriesRequest(states=[message_pb2.ATTEMPT_STATE_UNKNOWN])
        (entry,) = (await front.usage.ListLedgerEntries(request)).entries
        assert entry.reserved_usd_nanos > 0
        assert not entry.HasField("cost_usd_nanos")

    @pytest.mark.parametrize(
        ("request_", "field"),
        [
            (usage_pb2.ListLedgerEntriesRequest(states=[0]), "states[0]"),
            (usage_pb2.ListLedgerEntriesRequest(states=[4, 99]), "states[1]"),
            (usage_pb2.ListLedgerEntriesRequest(page_size=-1), "page_size"),
            (usage_pb2.ListLedgerEntriesRequest(page_token="%"), "page_token"),
            (usage_pb2.ListLedgerEntriesRequest(start_time=FAR), "start_time"),
        ],
    )
    async def test_bad_list_request_is_named(self, front: Served, request_: usage_pb2.ListLedgerEntriesRequest, field: str) -> None:
        """A list that can't be meant is refused by name."""
        refused = await failure(front.usage.ListLedgerEntries(request_))
        assert (refused.reason, refused.metadata["field"]) == ("INVALID_REQUEST", field)


class TestModels:
    """ModelService."""

    async def test_models_come_in_pages_with_their_price(self, front: Served) -> None:
        """Pages joined are the whole list, and a filter keeps what it names."""
        whole = (await front.model.ListModels(model_pb2.ListModelsRequest(page_size=2_000))).models
        names, token = [], ""
        while True:
            page = await front.model.ListModels(model_pb2.ListModelsRequest(page_size=7, page_token=token))
            names += [model.id for model in page.models]
            token = page.next_page_token
            if not token:
                break
        assert names == [model.id for model in whole]
        vision = model_pb2.ListModelsRequest(capability=model_pb2.MODEL_CAPABILITY_VISION, tier=model_pb2.MODEL_TIER_PREMIUM)
        for model in (await front.model.ListModels(vision)).models:
            assert model_pb2.MODEL_CAPABILITY_VISION in model.capabilities
            assert model.tier == model_pb2.MODEL_TIER_PREMIUM

    async def test_model_of_a_configured_provider_is_available_at_its_price(self, front: Served) -> None:
        """A model that is asked for by provider/model shows the price in force."""
        model = (await front.model.GetModel(model_pb2.GetModelRequest(model="one/model-1"))).model
        assert (model.id, model.available, model.price.input, model.price.output) == ("model-1", True, "1000", "10000")
        assert model.price.cache_read in ("", "1000")

    @pytest.mark.parametrize("token", ["%", "LTE=", "eA=="])
    async def test_bad_page_is_named(self, front: Served, token: str) -> None:
        """A token of nobody's is refused, a negative size too."""
        refused = await failure(front.model.ListModels(model_pb2.ListModelsRequest(page_token=token)))
        assert refused.metadata["field"] == "page_token"
        assert (await failure(front.model.ListModels(model_pb2.ListModelsRequest(page_size=-1)))).metadata["field"] == "page_size"

    @pytest.mark.parametrize("name", ["", "no such model"])
    async def test_unknown_model_is_named(self, front: Served, name: str) -> None:
        """A name that nothing has is UNKNOWN_MODEL."""
        assert (await failure(front.model.GetModel(model_pb2.GetModelRequest(model=name)))).reason == "UNKNOWN_MODEL"


class TestDaemon:
    """DaemonService, health and reflection."""

    async def test_status_tells_budgets_and_providers(self, tmp_path: Path) -> None:
        """GetStatus shows each budget in its window, the one for each value too."""
        budgets = [{"name": "each", "each": "session", "period": "session", "limit_usd": "1"}]
        async with served(tmp_path, budgets=budgets) as front:
            account = completion_pb2.Accounting(session="run").SerializeToString()
            await front.completion.Complete(asked(), metadata=(("aigen-accounting-bin", account),))
            status = await front.daemon.GetStatus(daemon_pb2.GetStatusRequest())
            (budget,) = status.budgets
            assert (budget.name, budget.limit_usd_nanos, budget.action) == ("each[run]", 1_000_000_000, "refuse")
            assert budget.spent_usd_nanos > 0
            assert not budget.HasField("reset_time")
            assert status.state == daemon_pb2.DAEMON_STATE_SERVING
            assert [provider.name for provider in status.providers] == ["one"]

    async def test_settings_are_shown(self, front: Served) -> None:
        """GetSettings shows key, value and origin."""
        (setting,) = (await front.daemon.GetSettings(daemon_pb2.GetSettingsRequest())).settings
        assert (setting.key, setting.value_json, setting.origin) == ("cache.ttl", '"1d"', "file")

    @pytest.mark.parametrize("wait", [None, 0.0, 2.5])
    async def test_drain_passes_its_timeout_on(self, front: Served, wait: float | None) -> None:
        """Unset leaves the wait to the settings; 0 does not wait."""
        given = None if wait is None else Duration(seconds=int(wait), nanos=int(wait % 1 * 1e9))
        assert (await front.daemon.Drain(daemon_pb2.DrainRequest(timeout=given))).in_flight_count == 7
        assert front.control.drained == [wait]

    @pytest.mark.parametrize("seconds", [-1, 3_601])
    async def test_drain_refuses_a_wait_out_of_bounds(self, front: Served, seconds: int) -> None:
        """A negative wait and one above an hour are refused, and nothing is drained."""
        refused = await failure(front.daemon.Drain(daemon_pb2.DrainRequest(timeout=Duration(seconds=seconds))))
        assert (refused.metadata["field"], front.control.drained) == ("timeout", [])

    async def test_health_says_serving_for_all_and_each(self, front: Served) -> None:
        """Health answers overall and by service."""
        stub = health_pb2_grpc.HealthStub(front.channel)
        for name in ("", "aigen.v1.CompletionService"):
            status = (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status
            assert status == health_pb2.HealthCheckResponse.SERVING

    async def test_socket_is_its_owners_alone(self, front: Served, tmp_path: Path) -> None:
        """The socket's mode is 0600."""
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


class TestUnknownFields:
    """What a newer client says and this daemon does not know is refused, never ignored."""

    @pytest.mark.parametrize(
        ("outer", "field"),
        [
            (lambda extra: asked(tool_choice=message_pb2.ToolChoice.FromString(extra)), "tool_choice"),
            (lambda extra: asked(response_format=message_pb2.ResponseFormat.FromString(extra)), "response_format"),
            (lambda extra: asked(prompt_caching=completion_pb2.PromptCaching.FromString(extra)), "prompt_caching"),
            (
                lambda extra: asked(
                    "",
                    messages=[
                        message_pb2.Message(
                            role=message_pb2.ROLE_USER,
                            parts=[message_pb2.Part(text="x", prompt_cache_mark=message_pb2.PromptCacheMark.FromString(extra))],
                        )
                    ],
                ),
                "messages[0].parts[0].prompt_cache_mark",
            ),
        ],
    )
    async def test_unknown_field_inside_is_refused(self, front: Served, outer, field: str) -> None:
        """A field number of the future inside any message of the request is CAPABILITY_MISSING naming where."""
        future = b"\xba\x3e\x01x"  # field 999, length-delimited
        refused = await failure(front.completion.Complete(outer(future)))
        assert (refused.reason, refused.metadata["field"]) == ("CAPABILITY_MISSING", field)
