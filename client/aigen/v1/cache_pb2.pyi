import datetime

from aigen.v1 import completion_pb2 as _completion_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CacheFilter(_message.Message):
    __slots__ = ("provider", "model", "agent", "phase", "service", "namespace", "older_than", "key_prefix")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    OLDER_THAN_FIELD_NUMBER: _ClassVar[int]
    KEY_PREFIX_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    agent: str
    phase: str
    service: str
    namespace: str
    older_than: _duration_pb2.Duration
    key_prefix: str
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., agent: _Optional[str] = ..., phase: _Optional[str] = ..., service: _Optional[str] = ..., namespace: _Optional[str] = ..., older_than: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., key_prefix: _Optional[str] = ...) -> None: ...

class CacheEntry(_message.Message):
    __slots__ = ("key", "provider", "model", "agent", "phase", "service", "namespace", "size_bytes", "create_time", "expire_time", "last_use_time", "hit_count", "saved_per_hit_usd_nanos")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_USE_TIME_FIELD_NUMBER: _ClassVar[int]
    HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SAVED_PER_HIT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    provider: str
    model: str
    agent: str
    phase: str
    service: str
    namespace: str
    size_bytes: int
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    last_use_time: _timestamp_pb2.Timestamp
    hit_count: int
    saved_per_hit_usd_nanos: int
    def __init__(self, key: _Optional[bytes] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., agent: _Optional[str] = ..., phase: _Optional[str] = ..., service: _Optional[str] = ..., namespace: _Optional[str] = ..., size_bytes: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_use_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., hit_count: _Optional[int] = ..., saved_per_hit_usd_nanos: _Optional[int] = ...) -> None: ...

class PrefixDecision(_message.Message):
    __slots__ = ("create_time", "request_id", "provider", "model", "service", "decision", "prefix", "tokens", "mark_count", "ttl_seconds", "reason", "expected_gain_usd_nanos", "premium_usd_nanos")
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    MARK_COUNT_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_GAIN_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    PREMIUM_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    create_time: _timestamp_pb2.Timestamp
    request_id: str
    provider: str
    model: str
    service: str
    decision: str
    prefix: str
    tokens: int
    mark_count: int
    ttl_seconds: int
    reason: str
    expected_gain_usd_nanos: int
    premium_usd_nanos: int
    def __init__(self, create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_id: _Optional[str] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., service: _Optional[str] = ..., decision: _Optional[str] = ..., prefix: _Optional[str] = ..., tokens: _Optional[int] = ..., mark_count: _Optional[int] = ..., ttl_seconds: _Optional[int] = ..., reason: _Optional[str] = ..., expected_gain_usd_nanos: _Optional[int] = ..., premium_usd_nanos: _Optional[int] = ...) -> None: ...

class GetCacheStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCacheStatsResponse(_message.Message):
    __slots__ = ("entry_count", "size_bytes", "max_size_bytes", "hit_count", "miss_count", "eviction_count", "expiration_count", "mean_hit_latency_us", "memory_entry_count", "memory_size_bytes", "storing")
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISS_COUNT_FIELD_NUMBER: _ClassVar[int]
    EVICTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_HIT_LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    MEMORY_ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORING_FIELD_NUMBER: _ClassVar[int]
    entry_count: int
    size_bytes: int
    max_size_bytes: int
    hit_count: int
    miss_count: int
    eviction_count: int
    expiration_count: int
    mean_hit_latency_us: float
    memory_entry_count: int
    memory_size_bytes: int
    storing: bool
    def __init__(self, entry_count: _Optional[int] = ..., size_bytes: _Optional[int] = ..., max_size_bytes: _Optional[int] = ..., hit_count: _Optional[int] = ..., miss_count: _Optional[int] = ..., eviction_count: _Optional[int] = ..., expiration_count: _Optional[int] = ..., mean_hit_latency_us: _Optional[float] = ..., memory_entry_count: _Optional[int] = ..., memory_size_bytes: _Optional[int] = ..., storing: bool = ...) -> None: ...

class ListCacheEntriesRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: CacheFilter
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[CacheFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCacheEntriesResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[CacheEntry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[CacheEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetCacheEntryRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    def __init__(self, key: _Optional[bytes] = ...) -> None: ...

class GetCacheEntryResponse(_message.Message):
    __slots__ = ("entry", "response")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    entry: CacheEntry
    response: _completion_pb2.CompleteResponse
    def __init__(self, entry: _Optional[_Union[CacheEntry, _Mapping]] = ..., response: _Optional[_Union[_completion_pb2.CompleteResponse, _Mapping]] = ...) -> None: ...

class ClearCacheRequest(_message.Message):
    __slots__ = ("filter", "validate_only")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    filter: CacheFilter
    validate_only: bool
    def __init__(self, filter: _Optional[_Union[CacheFilter, _Mapping]] = ..., validate_only: bool = ...) -> None: ...

class ClearCacheResponse(_message.Message):
    __slots__ = ("entry_count", "size_bytes")
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    entry_count: int
    size_bytes: int
    def __init__(self, entry_count: _Optional[int] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class ListPrefixDecisionsRequest(_message.Message):
    __slots__ = ("provider", "model", "service", "page_size", "page_token")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    service: str
    page_size: int
    page_token: str
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., service: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPrefixDecisionsResponse(_message.Message):
    __slots__ = ("decisions", "next_page_token")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[PrefixDecision]
    next_page_token: str
    def __init__(self, decisions: _Optional[_Iterable[_Union[PrefixDecision, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
