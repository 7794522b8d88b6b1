"""Python arguments → the bytes of the requests that read and steer: statistics, ledger, cache, models, daemon."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypedDict

from google.protobuf.duration_pb2 import Duration

from aigen._fields import NOT_TAKEN, number_of, refused, set_field, set_timestamp, words
from aigen._requests import serialize
from aigen.catalog import Capability, ModelTier
from aigen.errors import InvalidRequest, invalid
from aigen.reports import AttemptState, GroupBy, Period
from aigen.v1 import cache_pb2, daemon_pb2, model_pb2, usage_pb2


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


_PERIODS = words(usage_pb2.Period, "PERIOD_")
_GROUPS = words(usage_pb2.GroupBy, "GROUP_BY_")
_STATES = words(usage_pb2.AttemptState, "ATTEMPT_STATE_")
_TIERS = words(model_pb2.ModelTier, "MODEL_TIER_")
_CAPABILITIES = words(model_pb2.ModelCapability, "MODEL_CAPABILITY_")

PageRequest = (
    usage_pb2.ListLedgerEntriesRequest
    | cache_pb2.ListCacheEntriesRequest
    | model_pb2.ListModelsRequest
    | model_pb2.ListServicePoliciesRequest
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
    with _field("period"):
        if period is not None:
            message.period = number_of(period, _PERIODS)
    _set_range(message, start_time, end_time)
    _set(message, {"time_zone": time_zone, "label_key": label_key})
    with _field("group_by"):
        message.group_by.extend(_numbers(group_by, _GROUPS))
    _filter(message.filter, where)
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
    _set_range(message, start_time, end_time)
    with _field("states"):
        message.states.extend(_numbers(states, _STATES))
    _set(message, {"request_id": request_id, "page_size": page_size})
    _filter(message.filter, where)
    return message


def cache_page(*, page_size: int, where: Mapping[str, Any]) -> cache_pb2.ListCacheEntriesRequest:
    """Return the request for the first page of cache entries."""
    message = cache_pb2.ListCacheEntriesRequest()
    _set(message, {"page_size": page_size})
    _filter(message.filter, where)
    return message


def model_page(
    *, provider: str, tier: ModelTier | str | None, capability: Capability | str | None, page_size: int
) -> model_pb2.ListModelsRequest:
    """Return the request for the first page of models."""
    message = model_pb2.ListModelsRequest()
    _set(message, {"provider": provider, "page_size": page_size})
    with _field("tier"):
        if tier is not None:
            message.tier = number_of(tier, _TIERS)
    with _field("capability"):
        if capability is not None:
            message.capability = number_of(capability, _CAPABILITIES)
    return message


def policy_page(*, page_size: int) -> model_pb2.ListServicePoliciesRequest:
    """Return the request for the first page of service policies."""
    message = model_pb2.ListServicePoliciesRequest()
    _set(message, {"page_size": page_size})
    return message


def next_page(message: PageRequest, page_token: str) -> bytes:
    """Return the serialized request for the page that begins at a token."""
    message.page_token = page_token
    return serialize(message)


def clear_bytes(*, validate_only: bool, where: Mapping[str, Any]) -> bytes:
    """Return the serialized ClearCacheRequest."""
    message = cache_pb2.ClearCacheRequest(validate_only=validate_only)
    _filter(message.filter, where)
    return serialize(message)


def entry_bytes(key: str | bytes) -> bytes:
    """Return the serialized GetCacheEntryRequest of a key, in hexadecimal or raw."""
    with _field("key", key):
        return serialize(cache_pb2.GetCacheEntryRequest(key=bytes.fromhex(key) if isinstance(key, str) else key))


def model_bytes(name: str) -> bytes:
    """Return the serialized GetModelRequest."""
    message = model_pb2.GetModelRequest()
    _set(message, {"model": name})
    return serialize(message)


def policy_bytes(service: str) -> bytes:
    """Return the serialized GetServicePolicyRequest."""
    message = model_pb2.GetServicePolicyRequest()
    _set(message, {"service": service})
    return serialize(message)


def drain_bytes(wait: timedelta | float | None) -> bytes:
    """Return the serialized DrainRequest."""
    message = daemon_pb2.DrainRequest()
    if wait is not None:
        with _field("wait", wait):
            _set_duration(message.timeout, wait)
    return serialize(message)


def _set_duration(target: Duration, value: timedelta | float) -> None:
    target.FromTimedelta(value if isinstance(value, timedelta) else timedelta(seconds=value))
    target.SetInParent()


def _set_range(message: Any, start_time: datetime | None, end_time: datetime | None) -> None:
    for name, moment in (("start_time", start_time), ("end_time", end_time)):
        if moment is not None:
            with _field(name, moment):
                set_timestamp(getattr(message, name), moment)


def _set(message: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        with _field(name, value):
            set_field(message, name, value)


def _numbers(values: Sequence[str], known: Mapping[str, int]) -> list[Any]:
    """Return the numbers of words; one word alone counts as a list of one."""
    return [number_of(value, known) for value in ((values,) if isinstance(values, str) else values)]


def _filter(message: Any, where: Mapping[str, Any]) -> None:
    for name, value in where.items():
        setter = _FILTERS.get(name)
        if name not in message.DESCRIPTOR.fields_by_name:
            raise invalid(name, "no filter", f"one of {', '.join(message.DESCRIPTOR.fields_by_name)}")
        with _field(name, value):
            if setter is not None:
                setter(message, value)
            elif value is not None:
                set_field(message, name, value)


_FILTERS: Mapping[str, Callable[[Any, Any], None]] = {
    "labels": lambda message, value: message.labels.update(value or {}),
    "phase": lambda message, value: setattr(message, "phase", "" if value is None else str(value)),
    "older_than": lambda message, value: None if value is None else _set_duration(message.older_than, value),
}


@contextmanager
def _field(name: str, value: object = None) -> Iterator[None]:
    """Name the field in what protobuf or a conversion refuses."""
    try:
        yield
    except InvalidRequest:
        raise
    except NOT_TAKEN as error:
        raise refused(name, value, error) from None
