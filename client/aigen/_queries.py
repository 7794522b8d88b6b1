"""Python arguments → the bytes of the requests that read and steer: statistics, ledger, cache, models, daemon."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypedDict

from aigen._fields import NOT_TAKEN, WrongValue, number_of, refused, set_duration, set_field, set_timestamp, words
from aigen._requests import serialize
from aigen.catalog import Capability, ModelTier
from aigen.errors import InvalidRequest, invalid
from aigen.reports import AttemptState, GroupBy, Period
from aigen.v1 import batch_job_pb2, budget_pb2, cache_pb2, daemon_pb2, message_pb2, model_pb2, usage_pb2


class UsageFilter(TypedDict, total=False):
    """Selects calls; a call must match all that is given."""

    provider: str
    model: str
    agent: str
    service: str
    session: str
    phase: str | int
    task: str
    labels: Mapping[str, str]


class CacheFilter(TypedDict, total=False):
    """Selects cache entries; an entry must match all that is given."""

    provider: str
    model: str
    agent: str
    phase: str | int
    service: str
    namespace: str
    older_than: timedelta | float  # created longer ago than this, in seconds
    key_prefix: str  # hexadecimal digits, at most 64


PERIODS = words(usage_pb2.Period, "PERIOD_")
_GROUPS = words(usage_pb2.GroupBy, "GROUP_BY_")
STATES = words(message_pb2.AttemptState, "ATTEMPT_STATE_")
_TIERS = words(model_pb2.ModelTier, "MODEL_TIER_")
_CAPABILITIES = words(model_pb2.ModelCapability, "MODEL_CAPABILITY_")

PageRequest = (
    batch_job_pb2.ListBatchJobsRequest
    | budget_pb2.ListBudgetsRequest
    | budget_pb2.ListAlertsRequest
    | usage_pb2.ListLedgerEntriesRequest
    | cache_pb2.ListCacheEntriesRequest
    | cache_pb2.ListPrefixDecisionsRequest
    | model_pb2.ListModelsRequest
    | model_pb2.ListServicePoliciesRequest
    | model_pb2.ListPricesRequest
    | usage_pb2.ListLedgerArchivesRequest
)


def stats_bytes(
    *,
    period: Period | str | None,
    start_time: datetime | None,
    end_time: datetime | None,
    time_zone: str,
    group_by: Sequence[GroupBy | str],
    label_key: str,
    where: Mapping[str, Any],
) -> bytes:
    """Return the serialized GetStatsRequest."""
    message = usage_pb2.GetStatsRequest()
    with named("period", period):
        if period is not None:
            message.period = number_of(period, PERIODS)
    fill_range(message, start_time, end_time)
    fill(message, {"time_zone": time_zone, "label_key": label_key})
    fill_words(message.group_by, "group_by", group_by, _GROUPS)
    fill_filter(message.filter, where)
    return serialize(message)


def ledger_page(
    *,
    start_time: datetime | None,
    end_time: datetime | None,
    states: Sequence[AttemptState | str],
    request_id: str,
    page_size: int,
    where: Mapping[str, Any],
) -> usage_pb2.ListLedgerEntriesRequest:
    """Return the request for the first page of ledger entries."""
    message = usage_pb2.ListLedgerEntriesRequest()
    fill_range(message, start_time, end_time)
    fill_words(message.states, "states", states, STATES)
    fill(message, {"request_id": request_id, "page_size": page_size})
    fill_filter(message.filter, where)
    return message


def cache_page(*, page_size: int, where: Mapping[str, Any]) -> cache_pb2.ListCacheEntriesRequest:
    """Return the request for the first page of cache entries."""
    message = cache_pb2.ListCacheEntriesRequest()
    fill(message, {"page_size": page_size})
    fill_filter(message.filter, where)
    return message


def prefix_page(*, provider: str, model: str, service: str, page_size: int) -> cache_pb2.ListPrefixDecisionsRequest:
    """Return the request for the first page of decisions about prompt caches."""
    message = cache_pb2.ListPrefixDecisionsRequest()
    fill(message, {"provider": provider, "model": model, "service": service, "page_size": page_size})
    return message


def model_page(
    *, provider: str, tier: ModelTier | str | None, capability: Capability | str | None, page_size: int
) -> model_pb2.ListModelsRequest:
    """Return the request for the first page of models."""
    message = model_pb2.ListModelsRequest()
    fill(message, {"provider": provider, "page_size": page_size})
    with named("tier", tier):
        if tier is not None:
            message.tier = number_of(tier, _TIERS)
    with named("capability", capability):
        if capability is not None:
            message.capability = number_of(capability, _CAPABILITIES)
    return message


def policy_page(*, page_size: int) -> model_pb2.ListServicePoliciesRequest:
    """Return the request for the first page of service policies."""
    message = model_pb2.ListServicePoliciesRequest()
    fill(message, {"page_size": page_size})
    return message


def job_page(*, page_size: int) -> batch_job_pb2.ListBatchJobsRequest:
    """Return the request for the first page of batch jobs."""
    message = batch_job_pb2.ListBatchJobsRequest()
    fill(message, {"page_size": page_size})
    return message


def next_page(message: PageRequest, page_token: str) -> bytes:
    """Return the serialized request for the page that begins at a token."""
    message.page_token = page_token
    return serialize(message)


def clear_bytes(*, validate_only: bool, where: Mapping[str, Any]) -> bytes:
    """Return the serialized ClearCacheRequest."""
    message = cache_pb2.ClearCacheRequest(validate_only=validate_only)
    fill_filter(message.filter, where)
    return serialize(message)


def entry_bytes(key: str | bytes) -> bytes:
    """Return the serialized GetCacheEntryRequest of a key, in hexadecimal or raw."""
    with named("key", key):
        try:
            message = cache_pb2.GetCacheEntryRequest(key=bytes.fromhex(key) if isinstance(key, str) else key)
        except NOT_TAKEN:
            raise WrongValue("bytes, or text of hexadecimal digits") from None
        return serialize(message)


def model_bytes(name: str) -> bytes:
    """Return the serialized GetModelRequest."""
    message = model_pb2.GetModelRequest()
    fill(message, {"model": name})
    return serialize(message)


def policy_bytes(service: str) -> bytes:
    """Return the serialized GetServicePolicyRequest."""
    message = model_pb2.GetServicePolicyRequest()
    fill(message, {"service": service})
    return serialize(message)


def drain_bytes(wait: timedelta | float | None) -> bytes:
    """Return the serialized DrainRequest."""
    message = daemon_pb2.DrainRequest()
    if wait is not None:
        with named("wait", wait):
            set_duration(message.timeout, wait)
    return serialize(message)


def fill_range(message: Any, start_time: datetime | None, end_time: datetime | None, **others: datetime | None) -> None:
    """Write the moments that are given."""
    for name, moment in (("start_time", start_time), ("end_time", end_time), *others.items()):
        if moment is not None:
            with named(name, moment):
                set_timestamp(getattr(message, name), moment)


def fill(message: Any, values: Mapping[str, Any]) -> None:
    """Write fields by name; one that can't be written is refused by its name."""
    for name, value in values.items():
        with named(name, value):
            set_field(message, name, value)


def fill_words(target: Any, name: str, values: Sequence[str], known: Mapping[str, int]) -> None:
    """Write a list of words; one word alone counts as a list of one, and one that is not known is refused by its name."""
    with named(name, values):
        for value in (values,) if isinstance(values, str) else values:
            with named(name, value):
                target.append(number_of(value, known))


def fill_filter(message: Any, where: Mapping[str, Any]) -> None:
    """Write a filter; a name that it does not have is refused."""
    for name, value in where.items():
        setter = _FILTERS.get(name)
        if name not in message.DESCRIPTOR.fields_by_name:
            raise invalid(name, "no filter", f"one of {', '.join(message.DESCRIPTOR.fields_by_name)}")
        with named(name, value):
            if setter is not None:
                setter(message, value)
            elif value is not None:
                set_field(message, name, value)


_FILTERS: Mapping[str, Callable[[Any, Any], None]] = {
    "labels": lambda message, value: message.labels.update(value or {}),
    "phase": lambda message, value: setattr(message, "phase", "" if value is None else str(value)),
    "older_than": lambda message, value: None if value is None else set_duration(message.older_than, value),
}


@contextmanager
def named(name: str, value: object = None) -> Iterator[None]:
    """Name the field in what protobuf or a conversion refuses."""
    try:
        yield
    except InvalidRequest:
        raise
    except NOT_TAKEN as error:
        raise refused(name, value, error) from None
