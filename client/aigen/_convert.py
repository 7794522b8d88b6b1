"""Protobuf messages → the frozen values of `results.py` and `reports.py`.

No input or output happens here, so that the sync and the async client share every line. Numbers of enums that this version
does not know become None, so that old clients survive new values.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from aigen import catalog, reports, results, types
from aigen.errors import AigenError, from_status
from aigen.v1 import cache_pb2, completion_pb2, daemon_pb2, message_pb2, model_pb2, usage_pb2

E = TypeVar("E", bound=StrEnum)


def table(enum: Any, prefix: str, ours: type[E]) -> Mapping[int, E]:
    """Return our words by the numbers of a protobuf enum."""
    return {number: ours(name.removeprefix(prefix).lower()) for name, number in enum.items() if number}


_FINISH = table(message_pb2.FinishReason, "FINISH_REASON_", results.FinishReason)
_STABILITY = table(message_pb2.Stability, "STABILITY_", types.Stability)
_OUTCOME = table(completion_pb2.CacheOutcome, "CACHE_OUTCOME_", results.CacheOutcome)
_BASIS = table(completion_pb2.CostBasis, "COST_BASIS_", results.CostBasis)
_CAUSE = table(completion_pb2.SavingsCause, "SAVINGS_CAUSE_", results.SavingsCause)
_STATE = table(message_pb2.AttemptState, "ATTEMPT_STATE_", reports.AttemptState)
_TIER = table(model_pb2.ModelTier, "MODEL_TIER_", catalog.ModelTier)
_CAPABILITY = table(model_pb2.ModelCapability, "MODEL_CAPABILITY_", catalog.Capability)
_STRATEGY = table(completion_pb2.Strategy, "STRATEGY_", types.Strategy)
_NORMALIZATION = table(completion_pb2.Normalization, "NORMALIZATION_", types.Normalization)
_DAEMON = table(daemon_pb2.DaemonState, "DAEMON_STATE_", reports.DaemonState)


def completion(message: completion_pb2.CompleteResponse) -> results.Completion:
    """Return one answer."""
    return results.Completion.read_by(partial(_completion_fields, message))


def completion_of(payload: bytes) -> results.Completion:
    """Return the answer that a serialized CompleteResponse holds."""
    return completion(completion_pb2.CompleteResponse.FromString(payload))


def stream_event_of(payload: bytes) -> results.StreamEvent | None:
    """Return what one message of a stream brings; None for a kind that this version does not know."""
    message = completion_pb2.StreamCompleteResponse.FromString(payload)
    match message.WhichOneof("event"):
        case "text_delta":
            return results.TextDelta(message.text_delta)
        case "thinking_delta":
            return results.ThinkingDelta(message.thinking_delta)
        case "tool_call":
            return _tool_call(message.tool_call)
        case "response":
            return completion(message.response)
        case _:
            return None


def batch_of(payload: bytes, request_id: str) -> list[results.Completion | AigenError]:
    """Return the results of a batch in request order, each an answer or the exception that says why there is none."""
    message = completion_pb2.BatchCompleteResponse.FromString(payload)
    return [
        completion(item.response)
        if item.WhichOneof("result") == "response"
        else from_status(item.status, request_id=f"{request_id}/{index}")
        for index, item in enumerate(message.results)
    ]


def estimate_of(payload: bytes) -> results.Estimate:
    """Return what a request would cost, by route."""
    message = completion_pb2.EstimateCostResponse.FromString(payload)
    return results.Estimate(routes=tuple(_cost_estimate(item) for item in message.estimates), cached=message.cached)


def stats_of(payload: bytes) -> reports.Stats:
    """Return the statistics of a period."""
    message = usage_pb2.GetStatsResponse.FromString(payload)
    return reports.Stats(
        rows=tuple(reports.StatsRow(group=tuple(row.group), totals=totals(row.totals)) for row in message.rows),
        totals=totals(message.totals),
        start_time=moment(message, "start_time"),
        end_time=moment(message, "end_time"),
        time_zone=message.time_zone,
    )


def ledger_page_of(payload: bytes) -> tuple[list[reports.LedgerEntry], str]:
    """Return a page of ledger entries and where the next begins."""
    message = usage_pb2.ListLedgerEntriesResponse.FromString(payload)
    return [ledger_entry(entry) for entry in message.entries], message.next_page_token


def cache_stats_of(payload: bytes) -> reports.CacheStats:
    """Return the state of the cache."""
    message = cache_pb2.GetCacheStatsResponse.FromString(payload)
    counts = same(message, "entry_count size_bytes max_size_bytes hit_count miss_count eviction_count expiration_count")
    memory = same(message, "memory_entry_count memory_size_bytes storing")
    return reports.CacheStats(**counts, **memory, mean_hit_latency_us=_optional(message, "mean_hit_latency_us"))


def cache_page_of(payload: bytes) -> tuple[list[reports.CacheEntry], str]:
    """Return a page of cache entries and where the next begins."""
    message = cache_pb2.ListCacheEntriesResponse.FromString(payload)
    return [_cache_entry(entry, None) for entry in message.entries], message.next_page_token


def cache_entry_of(payload: bytes) -> reports.CacheEntry:
    """Return one cache entry with its answer."""
    message = cache_pb2.GetCacheEntryResponse.FromString(payload)
    return _cache_entry(message.entry, completion(message.response))


def cleared_of(payload: bytes) -> reports.ClearedCache:
    """Return what was removed from the cache."""
    return reports.ClearedCache(**same(cache_pb2.ClearCacheResponse.FromString(payload), "entry_count size_bytes"))


def model_page_of(payload: bytes) -> tuple[list[reports.Model], str]:
    """Return a page of models and where the next begins."""
    message = model_pb2.ListModelsResponse.FromString(payload)
    return [_model(item) for item in message.models], message.next_page_token


def model_of(payload: bytes) -> reports.Model:
    """Return one model."""
    return _model(model_pb2.GetModelResponse.FromString(payload).model)


def policy_page_of(payload: bytes) -> tuple[list[reports.ServicePolicy], str]:
    """Return a page of service policies and where the next begins."""
    message = model_pb2.ListServicePoliciesResponse.FromString(payload)
    return [_policy(policy, ()) for policy in message.service_policies], message.next_page_token


def policy_of(payload: bytes) -> reports.ServicePolicy:
    """Return one service policy with the models that it allows."""
    message = model_pb2.GetServicePolicyResponse.FromString(payload)
    return _policy(message.service_policy, message.models)


def status_of(payload: bytes) -> reports.DaemonStatus:
    """Return how the daemon is."""
    message = daemon_pb2.GetStatusResponse.FromString(payload)
    return reports.DaemonStatus(
        **same(message, "version process_id socket_path state_directory cache_directory in_flight_count queued_count"),
        **same(message, "detached_count ledger_epoch ledger_sequence resident_bytes"),
        **same(message, "deferred_waiting_count deferred_submitted_count open_upload_count open_batch_job_count"),
        intake_waiting_count=message.intake_waiting_count,
        state=_DAEMON.get(message.state),
        start_time=moment(message, "start_time"),
        providers=tuple(_provider(item) for item in message.providers),
        budgets=tuple(budget(item) for item in message.budgets),
        warnings=tuple(message.warnings),
    )


def settings_of(payload: bytes) -> tuple[reports.Setting, ...]:
    """Return the settings in force."""
    message = daemon_pb2.GetSettingsResponse.FromString(payload)
    return tuple(reports.Setting(**same(item, "key value_json origin")) for item in message.settings)


def drained_of(payload: bytes) -> int:
    """Return the provider calls under way when a drain began."""
    return daemon_pb2.DrainResponse.FromString(payload).in_flight_count


def _completion_fields(message: completion_pb2.CompleteResponse) -> dict[str, Any]:
    """Return every field of a Completion."""
    return {
        "text": message.text,
        "parts": tuple([_part(part) for part in message.parts]),
        "finish_reason": _FINISH.get(message.finish_reason),
        "tool_calls": tuple([_tool_call(call) for call in message.tool_calls]),
        "requested_model": message.requested_model,
        "resolved_model": message.resolved_model,
        "provider": message.provider,
        "usage": token_usage(message.usage),
        "request_id": message.request_id,
        "cache_outcome": _OUTCOME.get(message.cache_outcome),
        "cache_key": message.cache_key.hex(),
        "cost_usd_nanos": message.cost_usd_nanos if message.HasField("cost_usd_nanos") else None,
        "cost_basis": _BASIS.get(message.cost_basis),
        "price_entry_id": message.price_entry_id,
        "saved_usd_nanos": message.saved_usd_nanos if message.HasField("saved_usd_nanos") else None,
        "saved_cause": _CAUSE.get(message.saved_cause),
        "attempt_count": message.attempt_count,
        "timings": _timings(message.timings),
        "ledger_entry_id": message.ledger_entry_id,
        "warnings": tuple(message.warnings),
    }


def token_usage(message: message_pb2.TokenUsage) -> results.TokenUsage:
    return results.TokenUsage(
        input_tokens=message.input_tokens,
        cache_read_tokens=message.cache_read_tokens,
        cache_write_5m_tokens=message.cache_write_5m_tokens,
        cache_write_1h_tokens=message.cache_write_1h_tokens,
        output_tokens=message.output_tokens,
        reasoning_tokens=message.reasoning_tokens,
        search_count=message.search_count,
    )


def _timings(message: completion_pb2.Timings) -> results.Timings:
    return results.Timings(queue_us=message.queue_us, provider_us=message.provider_us, total_us=message.total_us)


def _part(message: message_pb2.Part) -> types.Part:
    kind = message.WhichOneof("content")
    mark = message.prompt_cache_mark.ttl_seconds if message.HasField("prompt_cache_mark") else None
    return types.Part(_CONTENTS[kind](message) if kind else types.Text(""), _STABILITY.get(message.stability), mark)


def _tool_call(message: message_pb2.ToolCall) -> types.ToolCall:
    return types.ToolCall(id=message.id, name=message.name, arguments_json=message.arguments_json)


_CONTENTS: Mapping[str, Any] = {
    "text": lambda part: types.Text(part.text),
    "image": lambda part: types.Image(**same(part.image, "data url media_type")),
    "document": lambda part: types.Document(**same(part.document, "data url media_type title")),
    "tool_call": lambda part: _tool_call(part.tool_call),
    "tool_result": lambda part: types.ToolResult(**same(part.tool_result, "tool_call_id text is_error")),
    "thinking": lambda part: types.Thinking(**same(part.thinking, "text signature")),
}


def _cost_estimate(message: completion_pb2.CostEstimate) -> results.CostEstimate:
    fields = same(message, "provider model input_tokens max_output_tokens price_entry_id")
    return results.CostEstimate(**fields, max_cost_usd_nanos=_optional(message, "max_cost_usd_nanos"))


def totals(message: usage_pb2.UsageTotals) -> reports.UsageTotals:
    outcomes = same(message, "call_count hit_count miss_count coalesced_count bypass_count refresh_count replay_count")
    ends = same(message, "unknown_count released_count unpriced_count")
    costs = same(message, "estimated_cost_usd_nanos unknown_cost_usd_nanos")
    unpriced = message.unpriced_count and not message.cost_usd_nanos  # unknown is never 0
    latency = reports.LatencyPercentiles(**same(message.latency, "p50_us p90_us p99_us")) if message.HasField("latency") else None
    return reports.UsageTotals(
        **outcomes,
        **ends,
        **costs,
        cost_usd_nanos=None if unpriced else message.cost_usd_nanos,
        usage=token_usage(message.usage),
        savings=savings(message.savings),
        latency=latency,
        mean_hit_latency_us=_optional(message, "mean_hit_latency_us"),
    )


def savings(items: Iterable[completion_pb2.Savings]) -> tuple[reports.Savings, ...]:
    return tuple(reports.Savings(cause=_CAUSE.get(item.cause), **same(item, "call_count saved_usd_nanos")) for item in items)


def ledger_entry(message: usage_pb2.LedgerEntry) -> reports.LedgerEntry:
    return reports.LedgerEntry(
        **same(message, "id request_id attempt_number provider model resolved_model agent service session phase task"),
        **same(message, "provider_usage_json reserved_usd_nanos price_entry_id"),
        state=_STATE.get(message.state),
        labels=dict(message.labels),
        cache_outcome=_OUTCOME.get(message.cache_outcome),
        usage=token_usage(message.usage) if message.HasField("usage") else None,
        cost_usd_nanos=_optional(message, "cost_usd_nanos"),
        cost_basis=_BASIS.get(message.cost_basis),
        flags=tuple(message.flags),
        create_time=moment(message, "create_time"),
        update_time=moment(message, "update_time"),
        provider_us=_optional(message, "provider_us"),
        savings=savings(message.savings),
    )


def _cache_entry(message: cache_pb2.CacheEntry, answer: results.Completion | None) -> reports.CacheEntry:
    return reports.CacheEntry(
        **same(message, "provider model agent phase service namespace size_bytes hit_count"),
        key=message.key.hex(),
        create_time=moment(message, "create_time"),
        expire_time=moment(message, "expire_time"),
        last_use_time=moment(message, "last_use_time"),
        saved_per_hit_usd_nanos=_optional(message, "saved_per_hit_usd_nanos"),
        answer=answer,
    )


def _model(message: model_pb2.Model) -> reports.Model:
    return reports.Model(
        **same(message, "id provider context_tokens max_output_tokens default_max_output_tokens min_cacheable_tokens"),
        **same(message, "description available"),
        aliases=tuple(message.aliases),
        agents=tuple(message.agents),
        tier=_TIER.get(message.tier),
        capabilities=tuple(_CAPABILITY[item] for item in message.capabilities if item in _CAPABILITY),
        price=price(message.price) if message.HasField("price") else None,
    )


def _policy(message: model_pb2.ServicePolicy, models: Iterable[model_pb2.Model]) -> reports.ServicePolicy:
    return reports.ServicePolicy(
        **same(message, "service restricted default_model"),
        allowed_tiers=tuple(_TIER[item] for item in message.allowed_tiers if item in _TIER),
        named_models=tuple(message.named_models),
        required_capabilities=tuple(_CAPABILITY[item] for item in message.required_capabilities if item in _CAPABILITY),
        allowed_models=tuple(message.allowed_models),
        strategy=_STRATEGY.get(message.strategy),
        ttl_s=message.ttl.seconds + message.ttl.nanos / 1e9 if message.HasField("ttl") else None,
        normalization=_NORMALIZATION.get(message.normalization),
        models=tuple(_model(model) for model in models),
    )


def price(message: model_pb2.Price) -> reports.Price:
    rates: dict[str, Any] = same(message, "input output cache_read cache_write_5m cache_write_1h")
    rates.update({name: Decimal(rate) if rate else None for name, rate in rates.items()})
    return reports.Price(
        **rates,
        **same(message, "price_entry_id source checked_on"),
    )


def _provider(message: daemon_pb2.ProviderStatus) -> reports.ProviderStatus:
    keys = tuple(_provider_key(key) for key in message.keys)
    return reports.ProviderStatus(**same(message, "name adapter loaded in_flight_count queued_count slot_count"), keys=keys)


def _provider_key(message: daemon_pb2.ProviderKeyStatus) -> reports.ProviderKeyStatus:
    delay = message.retry_delay
    return reports.ProviderKeyStatus(
        **same(message, "number circuit failure_count refused"),
        retry_delay_s=delay.seconds + delay.nanos / 1e9 if message.HasField("retry_delay") else None,
    )


def budget(message: daemon_pb2.BudgetStatus) -> reports.BudgetStatus:
    fields = same(message, "name window limit_usd_nanos spent_usd_nanos reserved_usd_nanos action")
    return reports.BudgetStatus(**fields, reset_time=moment(message, "reset_time"))


def same(message: Any, names: str) -> dict[str, Any]:
    """Return the fields that are called and mean the same on both sides."""
    return {name: getattr(message, name) for name in names.split()}


def _optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def moment(message: Any, name: str) -> datetime | None:
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC) if message.HasField(name) else None
