"""Every method of both clients: what is sent for it, and what its answer becomes."""

import asyncio
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import aigen
import pytest
from aigen import _convert
from aigen.testing import FakeDaemon
from aigen.v1 import cache_pb2, completion_pb2, daemon_pb2, message_pb2, model_pb2, usage_pb2
from google.protobuf.timestamp_pb2 import Timestamp

MOMENT = datetime(2026, 11, 21, 12, tzinfo=UTC)
STAMP = Timestamp(seconds=int(MOMENT.timestamp()))
Call = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, daemon: FakeDaemon) -> Call:
    """Call a method by name, on a client of either kind; iterators are read to their end."""

    async def asynchronous(name: str, *args: Any, **kwargs: Any) -> Any:
        async with aigen.AsyncClient(daemon.socket, timeout=10) as client:
            result = getattr(client, name)(*args, **kwargs)
            return [item async for item in result] if inspect.isasyncgen(result) else await result

    def synchronous(name: str, *args: Any, **kwargs: Any) -> Any:
        with aigen.Client(daemon.socket, timeout=10) as client:
            result = getattr(client, name)(*args, **kwargs)
            return list(result) if inspect.isgenerator(result) else result

    return synchronous if request.param == "sync" else lambda *args, **kwargs: asyncio.run(asynchronous(*args, **kwargs))


def whole_answer() -> completion_pb2.CompleteResponse:
    """Return a CompleteResponse with every field set."""
    response = completion_pb2.CompleteResponse(
        text="hi",
        finish_reason="FINISH_REASON_STOP",
        resolved_model="m-1",
        provider="openai",
        cache_key=bytes(32),
        request_id="i",
        requested_model="m",
        cache_outcome="CACHE_OUTCOME_HIT",
        cost_usd_nanos=0,
        cost_basis="COST_BASIS_PRICED",
        price_entry_id="p",
        saved_usd_nanos=1_500,
        saved_cause="SAVINGS_CAUSE_CACHE",
        attempt_count=1,
        ledger_entry_id="l",
        warnings=["w"],
    )
    for part in (
        message_pb2.Part(text="hi", stability="STABILITY_STABLE", prompt_cache_mark=message_pb2.PromptCacheMark(ttl_seconds=300)),
        message_pb2.Part(image=message_pb2.Image(url="https://e", media_type="image/png")),
        message_pb2.Part(document=message_pb2.Document(data=b"d", title="t")),
        message_pb2.Part(tool_call=message_pb2.ToolCall(id="1", name="n", arguments_json="{}")),
        message_pb2.Part(tool_result=message_pb2.ToolResult(tool_call_id="1", text="r", is_error=True)),
        message_pb2.Part(thinking=message_pb2.Thinking(text="t", signature="s")),
        message_pb2.Part(),
    ):
        response.parts.append(part)
    response.tool_calls.append(response.parts[3].tool_call)
    response.usage.CopyFrom(
        message_pb2.TokenUsage(input_tokens=1, cache_read_tokens=2, cache_write_5m_tokens=3, cache_write_1h_tokens=4)
    )
    response.timings.CopyFrom(completion_pb2.Timings(queue_us=1, provider_us=2, total_us=3))
    return response


WHOLE = aigen.Completion(
    text="hi",
    parts=(
        aigen.Part(aigen.Text("hi"), aigen.Stability.STABLE, 300),
        aigen.Part(aigen.Image(url="https://e", media_type="image/png")),
        aigen.Part(aigen.Document(data=b"d", title="t")),
        aigen.Part(aigen.ToolCall(id="1", name="n", arguments_json="{}")),
        aigen.Part(aigen.ToolResult(tool_call_id="1", text="r", is_error=True)),
        aigen.Part(aigen.Thinking(text="t", signature="s")),
        aigen.Part(aigen.Text("")),
    ),
    finish_reason=aigen.FinishReason.STOP,
    tool_calls=(aigen.ToolCall(id="1", name="n", arguments_json="{}"),),
    requested_model="m",
    resolved_model="m-1",
    provider="openai",
    usage=aigen.TokenUsage(input_tokens=1, cache_read_tokens=2, cache_write_5m_tokens=3, cache_write_1h_tokens=4),
    request_id="i",
    cache_outcome=aigen.CacheOutcome.HIT,
    cache_key="00" * 32,
    cost_usd_nanos=0,
    cost_basis=aigen.CostBasis.PRICED,
    price_entry_id="p",
    saved_usd_nanos=1_500,
    saved_cause=aigen.SavingsCause.CACHE,
    attempt_count=1,
    timings=aigen.Timings(queue_us=1, provider_us=2, total_us=3),
    ledger_entry_id="l",
    warnings=("w",),
)


def test_an_answer_is_read_whole():
    """Every field of the message is in the completion, and every field of the completion comes from the message."""
    completion = _convert.completion(whole_answer())
    assert completion == WHOLE
    assert hash(completion) == hash(WHOLE)
    assert repr(completion) == repr(WHOLE)
    assert set(_convert._completion_fields(whole_answer())) == {field.name for field in dataclasses.fields(aigen.Completion)}
    assert (completion.cost_usd, completion.saved_usd, completion.usage.total_input_tokens) == (0, Decimal("0.000001500"), 10)
    assert completion.message == aigen.Message("assistant", completion.parts)


def test_an_answer_is_a_frozen_value():
    """It can't be changed, can be pickled and copied, and knows what it does not have, before and after it was read."""
    for read in (False, True):
        completion = _convert.completion(whole_answer())
        assert not read or completion.text
        assert pickle.loads(pickle.dumps(completion)) == WHOLE  # noqa: S301 - our own bytes
        fresh = _convert.completion(whole_answer())
        assert dataclasses.replace(fresh, text="x").text == "x"
        with pytest.raises(dataclasses.FrozenInstanceError):
            fresh.text = "x"  # type: ignore[misc]
        with pytest.raises(AttributeError, match="has no attribute 'txet'"):
            _ = _convert.completion(whole_answer()).txet  # type: ignore[attr-defined]


def test_unknown_is_never_zero():
    """Without a cost the completion's cost is None, and a value of a newer daemon is None too."""
    completion = _convert.completion(completion_pb2.CompleteResponse(cache_outcome=99))  # type: ignore[arg-type]
    assert completion.cost_usd is completion.cost_usd_nanos is completion.saved_usd is completion.cache_outcome is None


def test_answer_can_be_sent_back(daemon: FakeDaemon, client: aigen.Client):
    """The answer's own message goes on with the conversation."""
    answer = client.complete("hi")
    client.complete([aigen.Message("user", "hi"), answer.message, {"role": "user", "content": "and?"}])
    assert [message.parts[0].text for message in daemon.calls[1].request.messages] == ["hi", "echo: hi", "and?"]


def test_complete(daemon: FakeDaemon, call: Call):
    """The question arrives as it was asked and the answer comes back."""
    daemon.answer("Hello", cost_usd_nanos=None, cache_outcome="HIT")
    answer = call("complete", "hi", model="m", request_id="i")
    assert (answer.text, answer.cost_usd, answer.cache_outcome, answer.request_id) == ("Hello", None, "hit", "i")
    assert (daemon.calls[0].request.prompt, daemon.calls[0].request.model) == ("hi", "m")


def test_complete_many(daemon: FakeDaemon, call: Call):
    """Results come in request order, failures as exceptions in their place with the item's request id."""
    daemon.answer("a").fail("BUDGET_EXCEEDED", limit_usd_nanos=1).answer("c")
    first, second, third = call("complete_many", ["1", aigen.CompletionRequest("2", seed=2), "3"], seed=1, request_id="i")
    assert (first.text, third.text, third.request_id) == ("a", "c", "i/2")
    assert isinstance(second, aigen.BudgetExceeded)
    assert (second.request_id, second.metadata) == ("i/1", {"limit_usd_nanos": "1"})
    assert [item.seed for item in daemon.calls[0].request.completions] == [1, 2, 1]


def test_a_batch_may_fail_whole(daemon: FakeDaemon, call: Call):
    """What concerns the whole batch is raised."""
    daemon.fail("UNAUTHENTICATED")
    with pytest.raises(aigen.AccessDenied):
        call("complete_many", ["1"])


def test_estimate(daemon: FakeDaemon, call: Call):
    """Upper bounds come by route; one without a price is None."""
    routes = [completion_pb2.CostEstimate(provider="p", model="m", max_cost_usd_nanos=5), completion_pb2.CostEstimate(provider="q")]
    daemon.respond("EstimateCost", completion_pb2.EstimateCostResponse(estimates=routes, cached=True))
    estimate = call("estimate", "hi", agent="claude")
    assert estimate.cached
    assert [route.max_cost_usd for route in estimate.routes] == [Decimal("5E-9"), None]
    assert daemon.calls[0].request.completion.agent == "claude"


def test_stats(daemon: FakeDaemon, call: Call):
    """Statistics are asked with period, grouping and filter, and come back as sums."""
    totals = usage_pb2.UsageTotals(
        call_count=3, cost_usd_nanos=7, latency=usage_pb2.LatencyPercentiles(p50_us=1), mean_hit_latency_us=2.5
    )
    totals.savings.add(cause="SAVINGS_CAUSE_CACHE", call_count=1, saved_usd_nanos=4)
    totals.savings.add(cause="SAVINGS_CAUSE_PROMPT_CACHE", call_count=1, saved_usd_nanos=-1)
    row = usage_pb2.StatsRow(group=["openai"], totals=usage_pb2.UsageTotals())
    daemon.respond("GetStats", usage_pb2.GetStatsResponse(rows=[row], totals=totals, end_time=STAMP, time_zone="UTC"))
    stats = call(
        "stats",
        period="today",
        time_zone="UTC",
        group_by=["provider", "label"],
        label_key="k",
        phase=2,
        labels={"a": "b"},
        agent=None,
    )
    assert (stats.rows[0].group, stats.rows[0].totals.latency, stats.rows[0].totals.mean_hit_latency_us) == (
        ("openai",),
        None,
        None,
    )
    assert (stats.totals.cost_usd, stats.totals.saved_usd, stats.totals.saved_usd_nanos) == (Decimal("7E-9"), Decimal("3E-9"), 3)
    assert [saving.saved_usd for saving in stats.totals.savings] == [Decimal("4E-9"), Decimal("-1E-9")]
    assert (stats.totals.latency.p50_us, stats.totals.mean_hit_latency_us) == (1, 2.5)
    assert (stats.start_time, stats.end_time, stats.time_zone) == (None, MOMENT, "UTC")
    asked = daemon.calls[0].request
    assert (asked.period, list(asked.group_by), asked.label_key) == (usage_pb2.PERIOD_TODAY, [1, 8], "k")
    assert (asked.filter.phase, dict(asked.filter.labels)) == ("2", {"a": "b"})


def test_ledger_entries(daemon: FakeDaemon, call: Call):
    """Charges are read page by page to the last."""
    entry = usage_pb2.LedgerEntry(id="1", state="ATTEMPT_STATE_SETTLED", labels={"a": "b"}, create_time=STAMP, cost_usd_nanos=2)
    daemon.respond("ListLedgerEntries", usage_pb2.ListLedgerEntriesResponse(entries=[entry], next_page_token="t"))
    entry = usage_pb2.LedgerEntry(id="2", usage=message_pb2.TokenUsage(input_tokens=5))
    daemon.respond("ListLedgerEntries", usage_pb2.ListLedgerEntriesResponse(entries=[entry]))
    first, second = call("ledger_entries", start_time=MOMENT, states=["settled", "unknown"], page_size=1, request_id="r", model="m")
    assert (first.id, first.state, first.labels, first.create_time, first.cost_usd) == (
        "1",
        "settled",
        {"a": "b"},
        MOMENT,
        Decimal("2E-9"),
    )
    assert (first.usage, first.provider_us, second.usage.input_tokens, second.cost_usd) == (None, None, 5, None)
    asked = [sent.request for sent in daemon.calls]
    assert [(request.page_token, request.page_size, list(request.states)) for request in asked] == [
        ("", 1, [4, 6]),
        ("t", 1, [4, 6]),
    ]
    assert (asked[0].start_time.seconds, asked[0].request_id, asked[0].filter.model) == (STAMP.seconds, "r", "m")


def test_cache(daemon: FakeDaemon, call: Call):
    """The cache is counted, listed, shown and cleared."""
    daemon.respond(
        "GetCacheStats", cache_pb2.GetCacheStatsResponse(hit_count=3, miss_count=1, mean_hit_latency_us=20, storing=True)
    )
    daemon.respond("GetCacheStats", cache_pb2.GetCacheStatsResponse())
    entry = cache_pb2.CacheEntry(key=b"\xab", size_bytes=9, expire_time=STAMP, saved_per_hit_usd_nanos=8)
    daemon.respond("ListCacheEntries", cache_pb2.ListCacheEntriesResponse(entries=[entry]))
    daemon.respond("GetCacheEntry", cache_pb2.GetCacheEntryResponse(entry=entry, response=whole_answer()))
    daemon.respond("ClearCache", cache_pb2.ClearCacheResponse(entry_count=2, size_bytes=18))
    stats, fresh = call("cache_stats"), call("cache_stats")
    assert (stats.hit_rate, stats.mean_hit_latency_us, stats.storing) == (0.75, 20.0, True)
    assert (fresh.hit_rate, fresh.mean_hit_latency_us) == (None, None)
    (listed,) = call("cache_entries", agent="claude", older_than=timedelta(days=1))
    assert (listed.key, listed.expire_time, listed.saved_per_hit_usd, listed.answer) == ("ab", MOMENT, Decimal("8E-9"), None)
    assert call("cache_entry", "ab").answer.text == "hi"
    assert call("cache_entry", b"\xab").key == ""
    assert call("clear_cache", phase=2, key_prefix="ab", validate_only=True, older_than=None) == aigen.ClearedCache(
        entry_count=2, size_bytes=18
    )
    asked = [sent.request for sent in daemon.calls]
    assert (asked[2].filter.agent, asked[2].filter.older_than.seconds) == ("claude", 86_400)
    assert asked[3].key == asked[4].key == b"\xab"
    assert (asked[5].filter.phase, asked[5].filter.key_prefix, asked[5].validate_only) == ("2", "ab", True)
    assert not asked[5].filter.HasField("older_than")


def test_prefix_decisions(daemon: FakeDaemon, call: Call):
    """Decisions about prompt caches are asked for by route and service, and read with their amounts."""
    row = cache_pb2.PrefixDecision(create_time=STAMP, prefix="ab", mark_count=2, ttl_seconds=300, expected_gain_usd_nanos=8)
    daemon.respond("ListPrefixDecisions", cache_pb2.ListPrefixDecisionsResponse(decisions=[row]))
    (listed,) = call("prefix_decisions", provider="anthropic", model="m", service="s")
    assert (listed.prefix, listed.mark_count, listed.ttl_seconds, listed.create_time) == ("ab", 2, 300, MOMENT)
    assert (listed.expected_gain_usd, listed.premium_usd_nanos) == (Decimal("8E-9"), 0)
    asked = daemon.calls[0].request
    assert (asked.provider, asked.model, asked.service) == ("anthropic", "m", "s")


def test_an_empty_filter_clears_all(daemon: FakeDaemon, call: Call):
    """Without a filter the request holds none, and zero seconds is a filter."""
    call("clear_cache")
    call("clear_cache", older_than=0)
    assert not daemon.calls[0].request.HasField("filter")
    assert daemon.calls[1].request.filter.HasField("older_than")


def test_service_policies(daemon: FakeDaemon, call: Call):
    """Policies arrive with their words; a list has names only, one policy its models too, and what is left open is None."""
    policy = model_pb2.ServicePolicy(
        service="StrategyBuilder",
        restricted=True,
        allowed_tiers=["MODEL_TIER_MINI"],
        named_models=["openai/gpt-4o"],
        required_capabilities=["MODEL_CAPABILITY_CHAT"],
        allowed_models=["openai/gpt-4o", "openai/gpt-4o-mini"],
        default_model="openai/gpt-4o-mini",
        strategy="STRATEGY_PERFORMANCE",
        normalization="NORMALIZATION_EXACT",
    )
    policy.ttl.FromMilliseconds(1_500)
    daemon.respond("ListServicePolicies", model_pb2.ListServicePoliciesResponse(service_policies=[policy], next_page_token="2"))
    daemon.respond("ListServicePolicies", model_pb2.ListServicePoliciesResponse(service_policies=[{"service": "free"}]))
    models = [model_pb2.Model(id="gpt-4o", provider="openai")]
    daemon.respond("GetServicePolicy", model_pb2.GetServicePolicyResponse(service_policy=policy, models=models))
    listed, free = call("service_policies", page_size=1)
    assert (listed.service, listed.restricted, listed.allowed_tiers, listed.strategy) == (
        "StrategyBuilder",
        True,
        (aigen.ModelTier.MINI,),
        aigen.Strategy.PERFORMANCE,
    )
    assert (listed.ttl_s, listed.normalization, listed.required_capabilities) == (1.5, "exact", (aigen.Capability.CHAT,))
    assert (free.ttl_s, free.strategy, free.normalization, free.default_model, free.restricted) == (None, None, None, "", False)
    one = call("service_policy", "StrategyBuilder")
    assert [model.id for model in one.models] == ["gpt-4o"]
    assert dataclasses.replace(one, models=()) == listed
    assert [made.request.page_size for made in daemon.calls[:2]] == [1, 1]
    assert (daemon.calls[1].request.page_token, daemon.calls[2].request.service) == ("2", "StrategyBuilder")


def test_models(daemon: FakeDaemon, call: Call):
    """Models come with tier, capabilities and exact rates; an unknown rate is None."""
    model = model_pb2.Model(id="m", tier="MODEL_TIER_MINI", capabilities=["MODEL_CAPABILITY_CHAT"], aliases=["a"])
    model.capabilities.append(99)  # type: ignore[arg-type]
    model.price.CopyFrom(model_pb2.Price(input="0.15", price_entry_id="p"))
    daemon.respond("ListModels", model_pb2.ListModelsResponse(models=[model]))
    daemon.respond("GetModel", model_pb2.GetModelResponse(model=model_pb2.Model(id="m")))
    (listed,) = call("models", provider="openai", tier="mini", capability="chat")
    assert (listed.tier, listed.capabilities, listed.aliases) == ("mini", ("chat",), ("a",))
    assert (listed.price.input, listed.price.output, listed.price.price_entry_id) == (Decimal("0.15"), None, "p")
    assert call("model", "m").price is None
    asked = daemon.calls[0].request
    assert (asked.provider, asked.tier, asked.capability) == ("openai", model_pb2.MODEL_TIER_MINI, model_pb2.MODEL_CAPABILITY_CHAT)
    assert daemon.calls[1].request.model == "m"


def test_daemon(daemon: FakeDaemon, call: Call):
    """The daemon's state and settings can be read, and it can be drained."""
    status = daemon_pb2.GetStatusResponse(version="1", state="DAEMON_STATE_SERVING", start_time=STAMP, warnings=["w"])
    provider = status.providers.add(name="openai", adapter="openai", loaded=True)
    provider.keys.add(number=1, circuit="closed")
    provider.keys.add(number=2, circuit="open", failure_count=5, refused=True).retry_delay.FromMilliseconds(2_500)
    status.budgets.add(name="b", limit_usd_nanos=5, reset_time=STAMP)
    daemon.respond("GetStatus", status)
    daemon.respond("GetSettings", daemon_pb2.GetSettingsResponse(settings=[daemon_pb2.Setting(key="cache.ttl", value_json="1")]))
    daemon.respond("Drain", daemon_pb2.DrainResponse(in_flight_count=4))
    read = call("status")
    assert (read.version, read.state, read.start_time, read.warnings) == ("1", "serving", MOMENT, ("w",))
    assert read.providers[0].keys == (
        aigen.ProviderKeyStatus(number=1, circuit="closed", failure_count=0, refused=False, retry_delay_s=None),
        aigen.ProviderKeyStatus(number=2, circuit="open", failure_count=5, refused=True, retry_delay_s=2.5),
    )
    assert (read.providers[0].loaded, read.budgets[0].limit_usd_nanos, read.budgets[0].reset_time) == (True, 5, MOMENT)
    assert call("settings") == (aigen.Setting(key="cache.ttl", value_json="1", origin=""),)
    assert call("drain", wait=30) == 4
    assert call("drain") == 0
    assert [sent.request.HasField("timeout") for sent in daemon.calls[2:]] == [True, False]


@pytest.mark.parametrize(
    ("method", "field", "arguments"),
    [
        ("stats", "period", {"period": "yesterday"}),
        ("stats", "start_time", {"start_time": datetime(2026, 1, 1)}),  # noqa: DTZ001 - the missing zone is what is refused
        ("stats", "group_by", {"group_by": ["colour"]}),
        ("stats", "colour", {"colour": "red"}),
        ("stats", "time_zone", {"time_zone": "\ud800"}),
        ("stats", "labels", {"labels": {"a": 1}}),
        ("ledger_entries", "states", {"states": ["lost"]}),
        ("ledger_entries", "page_size", {"page_size": 2**40}),
        ("models", "tier", {"tier": "huge"}),
        ("models", "capability", {"capability": "dreams"}),
        ("clear_cache", "older_than", {"older_than": "a day"}),
        ("clear_cache", "session", {"session": "run-1"}),
        ("cache_entry", "key", {"key": "xyz"}),
        ("model", "model", {"key": 3}),
        ("service_policy", "service", {"key": 3}),
        ("service_policies", "page_size", {"page_size": "many"}),
        ("drain", "wait", {"wait": "long"}),
    ],
)
def test_arguments_that_cannot_travel_are_refused_by_name(
    client: aigen.Client, daemon: FakeDaemon, method: str, field: str, arguments: dict
):
    """A wrong argument of any method is refused at the call, not at the first page, and by its name."""
    positional = [arguments.pop("key")] if "key" in arguments else []
    with pytest.raises(aigen.InvalidRequest) as caught:
        getattr(client, method)(*positional, **arguments)
    assert caught.value.field == field
    assert daemon.calls == []


def test_one_word_is_a_list_of_one(daemon: FakeDaemon, client: aigen.Client):
    """A single grouping may be given without a list."""
    client.stats(group_by="agent")
    assert list(daemon.calls[0].request.group_by) == [usage_pb2.GROUP_BY_AGENT]


@pytest.mark.parametrize(
    ("method", "arguments", "told"),
    [
        ("stats", {"period": "year"}, "period is 'year'; allowed: one of today, week, month, all"),
        ("stats", {"group_by": ["agent", "colour"]}, "group_by is 'colour'; allowed: one of provider, model"),
        ("stats", {"start_time": "yesterday"}, "start_time is 'yesterday'; allowed: a datetime with its time zone"),
        ("ledger_entries", {"states": ["lost"]}, "states is 'lost'; allowed: one of reserved, sent"),
        ("models", {"tier": "huge"}, "tier is 'huge'; allowed: one of mini"),
        ("clear_cache", {"older_than": "7d"}, "older_than is '7d'; allowed: seconds as a number, or a timedelta"),
        ("drain", {"wait": float("nan")}, "wait is nan; allowed: seconds as a number, or a timedelta"),
        ("watch_usage", {"interval": "1s"}, "interval is '1s'; allowed: seconds as a number, or a timedelta"),
        ("diagnose_prompt_cache", {"period": "year"}, "period is 'year'; allowed: one of today"),
        ("cache_entry", {"key": "xyz"}, "key is 'xyz'; allowed: bytes, or text of hexadecimal digits"),
        ("complete", {"key": "Hi", "ttl": "7d"}, "ttl is '7d'; allowed: seconds as a number, or a timedelta"),
        ("complete", {"key": "Hi", "tools": "x"}, "tools is 'x'; allowed: a list of Tool"),
        ("complete", {"key": "Hi", "prompt_caching": "on"}, "prompt_caching is 'on'; allowed: a PromptCaching"),
        ("complete", {"key": "Hi", "phase": {}}, "phase is of type dict; allowed: text or a whole number"),
        ("stats", {"labels": {"team": 1}}, "labels is of type dict; allowed: a mapping of texts to texts"),
        ("set_budget", {"key": "b", "period": "year", "limit_usd": 1}, "period is 'year'; allowed: one of daily, weekly"),
        (
            "set_budget",
            {"key": "b", "period": "daily", "limit_usd": 1, "selector": 5},
            "selector is 5; allowed: a mapping of texts",
        ),
        ("settle_entry", {"key": "7", "usage": 5}, "usage is 5; allowed: a TokenUsage"),
        ("complete", {"key": "Hi", "seed": 10**5_000}, "seed is a whole number of 16,610 bits; allowed: a whole number from"),
    ],
)
def test_a_refused_argument_is_repeated_with_what_is_allowed(
    daemon: FakeDaemon, call: Call, method: str, arguments: dict, told: str
):
    """What can't travel is told with its value and what is allowed in words of ours, by both clients alike."""
    arguments = dict(arguments)
    positional = [arguments.pop("key")] if "key" in arguments else []
    with pytest.raises(aigen.InvalidRequest) as caught:
        call(method, *positional, **arguments)
    assert told in str(caught.value)
    assert daemon.calls == []


@pytest.mark.parametrize(
    "amount",
    ["1e9999", "1e-9999", "NaN", "sNaN", "Infinity", "-5", "0.0000000001", "1e9", 0.5, True, 10**5_000, None, Decimal("1e9999")],
    ids=lambda amount: f"{type(amount).__name__} {amount}" if isinstance(amount, str) else type(amount).__name__,
)
def test_a_limit_that_can_not_be_is_refused_in_dollars(daemon: FakeDaemon, call: Call, amount: Any):
    """Field, value and what is allowed are told in the unit that was given."""
    with pytest.raises(aigen.InvalidRequest) as caught:
        call("set_budget", "b", period="daily", limit_usd=amount)
    told = "allowed: 0 to 999,999,999.999999999 dollars as Decimal, text or whole number, with at most 9 decimals"
    assert (caught.value.field, told in str(caught.value)) == ("limit_usd", True)
    assert daemon.calls == []


def test_unpriced_calls_cost_none(daemon: FakeDaemon, call: Call):
    """A sum of which no price is known is None; one that is known in part is that part, with the count of the rest beside it."""
    for unpriced, nanos, cost in ((2, 0, None), (1, 7, Decimal("7E-9")), (0, 0, Decimal(0))):
        totals = usage_pb2.UsageTotals(call_count=2, unpriced_count=unpriced, cost_usd_nanos=nanos, unknown_cost_usd_nanos=3)
        daemon.respond("GetStats", usage_pb2.GetStatsResponse(totals=totals))
        read = call("stats").totals
        assert (read.cost_usd, read.cost_usd_nanos, read.unpriced_count) == (cost, None if cost is None else nanos, unpriced)
        assert (read.estimated_share, read.unknown_share) == ((0.0, 0.3) if nanos else (None, 1.0))


def test_rates_are_told_in_dollars_too():
    """A rate in nano-dollars a token stands beside dollars for a million tokens; unknown is None in both."""
    price = _convert.price(model_pb2.Price(input="150", output="0.5"))
    assert (price.input, price.usd_per_million["input"], price.usd_per_million["output"]) == (
        150,
        Decimal("0.15"),
        Decimal("0.0005"),
    )
    assert (price.cache_read, price.usd_per_million["cache_read"]) == (None, None)
