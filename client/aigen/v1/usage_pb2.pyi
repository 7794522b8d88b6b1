import datetime

from aigen.v1 import completion_pb2 as _completion_pb2
from aigen.v1 import daemon_pb2 as _daemon_pb2
from aigen.v1 import message_pb2 as _message_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Period(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PERIOD_UNSPECIFIED: _ClassVar[Period]
    PERIOD_TODAY: _ClassVar[Period]
    PERIOD_WEEK: _ClassVar[Period]
    PERIOD_MONTH: _ClassVar[Period]
    PERIOD_ALL: _ClassVar[Period]

class GroupBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GROUP_BY_UNSPECIFIED: _ClassVar[GroupBy]
    GROUP_BY_PROVIDER: _ClassVar[GroupBy]
    GROUP_BY_MODEL: _ClassVar[GroupBy]
    GROUP_BY_AGENT: _ClassVar[GroupBy]
    GROUP_BY_SERVICE: _ClassVar[GroupBy]
    GROUP_BY_SESSION: _ClassVar[GroupBy]
    GROUP_BY_PHASE: _ClassVar[GroupBy]
    GROUP_BY_TASK: _ClassVar[GroupBy]
    GROUP_BY_LABEL: _ClassVar[GroupBy]
    GROUP_BY_OUTCOME: _ClassVar[GroupBy]
    GROUP_BY_DAY: _ClassVar[GroupBy]
    GROUP_BY_HOUR: _ClassVar[GroupBy]
PERIOD_UNSPECIFIED: Period
PERIOD_TODAY: Period
PERIOD_WEEK: Period
PERIOD_MONTH: Period
PERIOD_ALL: Period
GROUP_BY_UNSPECIFIED: GroupBy
GROUP_BY_PROVIDER: GroupBy
GROUP_BY_MODEL: GroupBy
GROUP_BY_AGENT: GroupBy
GROUP_BY_SERVICE: GroupBy
GROUP_BY_SESSION: GroupBy
GROUP_BY_PHASE: GroupBy
GROUP_BY_TASK: GroupBy
GROUP_BY_LABEL: GroupBy
GROUP_BY_OUTCOME: GroupBy
GROUP_BY_DAY: GroupBy
GROUP_BY_HOUR: GroupBy

class UsageFilter(_message.Message):
    __slots__ = ("provider", "model", "agent", "service", "session", "phase", "task", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    agent: str
    service: str
    session: str
    phase: str
    task: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., agent: _Optional[str] = ..., service: _Optional[str] = ..., session: _Optional[str] = ..., phase: _Optional[str] = ..., task: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ("period", "start_time", "end_time", "time_zone", "group_by", "label_key", "filter")
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    LABEL_KEY_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    period: Period
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    time_zone: str
    group_by: _containers.RepeatedScalarFieldContainer[GroupBy]
    label_key: str
    filter: UsageFilter
    def __init__(self, period: _Optional[_Union[Period, str]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., time_zone: _Optional[str] = ..., group_by: _Optional[_Iterable[_Union[GroupBy, str]]] = ..., label_key: _Optional[str] = ..., filter: _Optional[_Union[UsageFilter, _Mapping]] = ...) -> None: ...

class UsageTotals(_message.Message):
    __slots__ = ("call_count", "hit_count", "miss_count", "coalesced_count", "bypass_count", "refresh_count", "replay_count", "unknown_count", "usage", "cost_usd_nanos", "estimated_cost_usd_nanos", "unknown_cost_usd_nanos", "unpriced_count", "savings", "latency", "mean_hit_latency_us", "released_count")
    CALL_COUNT_FIELD_NUMBER: _ClassVar[int]
    HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISS_COUNT_FIELD_NUMBER: _ClassVar[int]
    COALESCED_COUNT_FIELD_NUMBER: _ClassVar[int]
    BYPASS_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFRESH_COUNT_FIELD_NUMBER: _ClassVar[int]
    REPLAY_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_COUNT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SAVINGS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    MEAN_HIT_LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    RELEASED_COUNT_FIELD_NUMBER: _ClassVar[int]
    call_count: int
    hit_count: int
    miss_count: int
    coalesced_count: int
    bypass_count: int
    refresh_count: int
    replay_count: int
    unknown_count: int
    usage: _message_pb2.TokenUsage
    cost_usd_nanos: int
    estimated_cost_usd_nanos: int
    unknown_cost_usd_nanos: int
    unpriced_count: int
    savings: _containers.RepeatedCompositeFieldContainer[_completion_pb2.Savings]
    latency: LatencyPercentiles
    mean_hit_latency_us: float
    released_count: int
    def __init__(self, call_count: _Optional[int] = ..., hit_count: _Optional[int] = ..., miss_count: _Optional[int] = ..., coalesced_count: _Optional[int] = ..., bypass_count: _Optional[int] = ..., refresh_count: _Optional[int] = ..., replay_count: _Optional[int] = ..., unknown_count: _Optional[int] = ..., usage: _Optional[_Union[_message_pb2.TokenUsage, _Mapping]] = ..., cost_usd_nanos: _Optional[int] = ..., estimated_cost_usd_nanos: _Optional[int] = ..., unknown_cost_usd_nanos: _Optional[int] = ..., unpriced_count: _Optional[int] = ..., savings: _Optional[_Iterable[_Union[_completion_pb2.Savings, _Mapping]]] = ..., latency: _Optional[_Union[LatencyPercentiles, _Mapping]] = ..., mean_hit_latency_us: _Optional[float] = ..., released_count: _Optional[int] = ...) -> None: ...

class LatencyPercentiles(_message.Message):
    __slots__ = ("p50_us", "p90_us", "p99_us")
    P50_US_FIELD_NUMBER: _ClassVar[int]
    P90_US_FIELD_NUMBER: _ClassVar[int]
    P99_US_FIELD_NUMBER: _ClassVar[int]
    p50_us: int
    p90_us: int
    p99_us: int
    def __init__(self, p50_us: _Optional[int] = ..., p90_us: _Optional[int] = ..., p99_us: _Optional[int] = ...) -> None: ...

class StatsRow(_message.Message):
    __slots__ = ("group", "totals")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    group: _containers.RepeatedScalarFieldContainer[str]
    totals: UsageTotals
    def __init__(self, group: _Optional[_Iterable[str]] = ..., totals: _Optional[_Union[UsageTotals, _Mapping]] = ...) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("rows", "totals", "start_time", "end_time", "time_zone")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[StatsRow]
    totals: UsageTotals
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    time_zone: str
    def __init__(self, rows: _Optional[_Iterable[_Union[StatsRow, _Mapping]]] = ..., totals: _Optional[_Union[UsageTotals, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., time_zone: _Optional[str] = ...) -> None: ...

class LedgerEntry(_message.Message):
    __slots__ = ("id", "request_id", "attempt_number", "state", "provider", "model", "resolved_model", "agent", "service", "session", "phase", "task", "labels", "cache_outcome", "usage", "provider_usage_json", "reserved_usd_nanos", "cost_usd_nanos", "cost_basis", "price_entry_id", "flags", "create_time", "update_time", "provider_us", "savings")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_MODEL_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CACHE_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_USAGE_JSON_FIELD_NUMBER: _ClassVar[int]
    RESERVED_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    COST_BASIS_FIELD_NUMBER: _ClassVar[int]
    PRICE_ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_US_FIELD_NUMBER: _ClassVar[int]
    SAVINGS_FIELD_NUMBER: _ClassVar[int]
    id: str
    request_id: str
    attempt_number: int
    state: _message_pb2.AttemptState
    provider: str
    model: str
    resolved_model: str
    agent: str
    service: str
    session: str
    phase: str
    task: str
    labels: _containers.ScalarMap[str, str]
    cache_outcome: _completion_pb2.CacheOutcome
    usage: _message_pb2.TokenUsage
    provider_usage_json: str
    reserved_usd_nanos: int
    cost_usd_nanos: int
    cost_basis: _completion_pb2.CostBasis
    price_entry_id: str
    flags: _containers.RepeatedScalarFieldContainer[str]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    provider_us: int
    savings: _containers.RepeatedCompositeFieldContainer[_completion_pb2.Savings]
    def __init__(self, id: _Optional[str] = ..., request_id: _Optional[str] = ..., attempt_number: _Optional[int] = ..., state: _Optional[_Union[_message_pb2.AttemptState, str]] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., resolved_model: _Optional[str] = ..., agent: _Optional[str] = ..., service: _Optional[str] = ..., session: _Optional[str] = ..., phase: _Optional[str] = ..., task: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., cache_outcome: _Optional[_Union[_completion_pb2.CacheOutcome, str]] = ..., usage: _Optional[_Union[_message_pb2.TokenUsage, _Mapping]] = ..., provider_usage_json: _Optional[str] = ..., reserved_usd_nanos: _Optional[int] = ..., cost_usd_nanos: _Optional[int] = ..., cost_basis: _Optional[_Union[_completion_pb2.CostBasis, str]] = ..., price_entry_id: _Optional[str] = ..., flags: _Optional[_Iterable[str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., provider_us: _Optional[int] = ..., savings: _Optional[_Iterable[_Union[_completion_pb2.Savings, _Mapping]]] = ...) -> None: ...

class ListLedgerEntriesRequest(_message.Message):
    __slots__ = ("filter", "start_time", "end_time", "states", "request_id", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: UsageFilter
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    states: _containers.RepeatedScalarFieldContainer[_message_pb2.AttemptState]
    request_id: str
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[UsageFilter, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., states: _Optional[_Iterable[_Union[_message_pb2.AttemptState, str]]] = ..., request_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLedgerEntriesResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[LedgerEntry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[LedgerEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ExportLedgerRequest(_message.Message):
    __slots__ = ("filter", "start_time", "end_time", "states")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    filter: UsageFilter
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    states: _containers.RepeatedScalarFieldContainer[_message_pb2.AttemptState]
    def __init__(self, filter: _Optional[_Union[UsageFilter, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., states: _Optional[_Iterable[_Union[_message_pb2.AttemptState, str]]] = ...) -> None: ...

class ExportLedgerResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[LedgerEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[LedgerEntry, _Mapping]]] = ...) -> None: ...

class RecordUsageRequest(_message.Message):
    __slots__ = ("request_id", "provider", "model", "resolved_model", "usage", "cost_usd_nanos", "create_time", "agent", "service", "phase", "session", "task", "labels", "batch", "provider_usage_json")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_MODEL_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_USAGE_JSON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    provider: str
    model: str
    resolved_model: str
    usage: _message_pb2.TokenUsage
    cost_usd_nanos: int
    create_time: _timestamp_pb2.Timestamp
    agent: str
    service: str
    phase: str
    session: str
    task: str
    labels: _containers.ScalarMap[str, str]
    batch: bool
    provider_usage_json: str
    def __init__(self, request_id: _Optional[str] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., resolved_model: _Optional[str] = ..., usage: _Optional[_Union[_message_pb2.TokenUsage, _Mapping]] = ..., cost_usd_nanos: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., agent: _Optional[str] = ..., service: _Optional[str] = ..., phase: _Optional[str] = ..., session: _Optional[str] = ..., task: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., batch: bool = ..., provider_usage_json: _Optional[str] = ...) -> None: ...

class RecordUsageResponse(_message.Message):
    __slots__ = ("entry", "created", "warnings")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    entry: LedgerEntry
    created: bool
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, entry: _Optional[_Union[LedgerEntry, _Mapping]] = ..., created: bool = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class SettleLedgerEntryRequest(_message.Message):
    __slots__ = ("entry_id", "cost_usd_nanos", "usage", "note")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    cost_usd_nanos: int
    usage: _message_pb2.TokenUsage
    note: str
    def __init__(self, entry_id: _Optional[str] = ..., cost_usd_nanos: _Optional[int] = ..., usage: _Optional[_Union[_message_pb2.TokenUsage, _Mapping]] = ..., note: _Optional[str] = ...) -> None: ...

class SettleLedgerEntryResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: LedgerEntry
    def __init__(self, entry: _Optional[_Union[LedgerEntry, _Mapping]] = ...) -> None: ...

class ReleaseLedgerEntryRequest(_message.Message):
    __slots__ = ("entry_id", "note")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    note: str
    def __init__(self, entry_id: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class ReleaseLedgerEntryResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: LedgerEntry
    def __init__(self, entry: _Optional[_Union[LedgerEntry, _Mapping]] = ...) -> None: ...

class RepriceLedgerRequest(_message.Message):
    __slots__ = ("filter", "start_time", "end_time", "validate_only")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    filter: UsageFilter
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    validate_only: bool
    def __init__(self, filter: _Optional[_Union[UsageFilter, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., validate_only: bool = ...) -> None: ...

class RepricedModel(_message.Message):
    __slots__ = ("provider", "model", "changed_count", "before_usd_nanos", "after_usd_nanos", "price_entry_id")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    AFTER_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    PRICE_ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    changed_count: int
    before_usd_nanos: int
    after_usd_nanos: int
    price_entry_id: str
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., changed_count: _Optional[int] = ..., before_usd_nanos: _Optional[int] = ..., after_usd_nanos: _Optional[int] = ..., price_entry_id: _Optional[str] = ...) -> None: ...

class RepriceLedgerResponse(_message.Message):
    __slots__ = ("examined_count", "changed_count", "kept_count", "unpriced_count", "before_usd_nanos", "after_usd_nanos", "models", "archive_files")
    EXAMINED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    KEPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_COUNT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    AFTER_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FILES_FIELD_NUMBER: _ClassVar[int]
    examined_count: int
    changed_count: int
    kept_count: int
    unpriced_count: int
    before_usd_nanos: int
    after_usd_nanos: int
    models: _containers.RepeatedCompositeFieldContainer[RepricedModel]
    archive_files: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, examined_count: _Optional[int] = ..., changed_count: _Optional[int] = ..., kept_count: _Optional[int] = ..., unpriced_count: _Optional[int] = ..., before_usd_nanos: _Optional[int] = ..., after_usd_nanos: _Optional[int] = ..., models: _Optional[_Iterable[_Union[RepricedModel, _Mapping]]] = ..., archive_files: _Optional[_Iterable[str]] = ...) -> None: ...

class GenerateReportRequest(_message.Message):
    __slots__ = ("date", "month", "session", "time_zone", "entry_count")
    DATE_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    date: str
    month: str
    session: str
    time_zone: str
    entry_count: int
    def __init__(self, date: _Optional[str] = ..., month: _Optional[str] = ..., session: _Optional[str] = ..., time_zone: _Optional[str] = ..., entry_count: _Optional[int] = ...) -> None: ...

class ReportSection(_message.Message):
    __slots__ = ("group_by", "rows")
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    group_by: GroupBy
    rows: _containers.RepeatedCompositeFieldContainer[StatsRow]
    def __init__(self, group_by: _Optional[_Union[GroupBy, str]] = ..., rows: _Optional[_Iterable[_Union[StatsRow, _Mapping]]] = ...) -> None: ...

class GenerateReportResponse(_message.Message):
    __slots__ = ("start_time", "end_time", "time_zone", "totals", "sections", "dearest_entries", "unknown_entries", "budgets", "archive_files")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    DEAREST_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FILES_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    time_zone: str
    totals: UsageTotals
    sections: _containers.RepeatedCompositeFieldContainer[ReportSection]
    dearest_entries: _containers.RepeatedCompositeFieldContainer[LedgerEntry]
    unknown_entries: _containers.RepeatedCompositeFieldContainer[LedgerEntry]
    budgets: _containers.RepeatedCompositeFieldContainer[_daemon_pb2.BudgetStatus]
    archive_files: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., time_zone: _Optional[str] = ..., totals: _Optional[_Union[UsageTotals, _Mapping]] = ..., sections: _Optional[_Iterable[_Union[ReportSection, _Mapping]]] = ..., dearest_entries: _Optional[_Iterable[_Union[LedgerEntry, _Mapping]]] = ..., unknown_entries: _Optional[_Iterable[_Union[LedgerEntry, _Mapping]]] = ..., budgets: _Optional[_Iterable[_Union[_daemon_pb2.BudgetStatus, _Mapping]]] = ..., archive_files: _Optional[_Iterable[str]] = ...) -> None: ...

class DiagnosePromptCacheRequest(_message.Message):
    __slots__ = ("period", "start_time", "end_time", "time_zone", "filter", "prefix_count")
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PREFIX_COUNT_FIELD_NUMBER: _ClassVar[int]
    period: Period
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    time_zone: str
    filter: UsageFilter
    prefix_count: int
    def __init__(self, period: _Optional[_Union[Period, str]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., time_zone: _Optional[str] = ..., filter: _Optional[_Union[UsageFilter, _Mapping]] = ..., prefix_count: _Optional[int] = ...) -> None: ...

class PromptCachePrefix(_message.Message):
    __slots__ = ("prefix", "provider", "model", "service", "agent", "phase", "last_request_id", "last_time", "mark_count", "write_count", "written_tokens", "ttl_seconds", "premium_usd_nanos", "read_count", "read_tokens", "saved_usd_nanos", "reads_needed", "paid", "missed_count", "expired_count", "advice", "decision")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    LAST_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    MARK_COUNT_FIELD_NUMBER: _ClassVar[int]
    WRITE_COUNT_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PREMIUM_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    READ_COUNT_FIELD_NUMBER: _ClassVar[int]
    READ_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAVED_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    READS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    PAID_FIELD_NUMBER: _ClassVar[int]
    MISSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    provider: str
    model: str
    service: str
    agent: str
    phase: str
    last_request_id: str
    last_time: _timestamp_pb2.Timestamp
    mark_count: int
    write_count: int
    written_tokens: int
    ttl_seconds: int
    premium_usd_nanos: int
    read_count: int
    read_tokens: int
    saved_usd_nanos: int
    reads_needed: str
    paid: bool
    missed_count: int
    expired_count: int
    advice: _containers.RepeatedScalarFieldContainer[str]
    decision: str
    def __init__(self, prefix: _Optional[str] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., service: _Optional[str] = ..., agent: _Optional[str] = ..., phase: _Optional[str] = ..., last_request_id: _Optional[str] = ..., last_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., mark_count: _Optional[int] = ..., write_count: _Optional[int] = ..., written_tokens: _Optional[int] = ..., ttl_seconds: _Optional[int] = ..., premium_usd_nanos: _Optional[int] = ..., read_count: _Optional[int] = ..., read_tokens: _Optional[int] = ..., saved_usd_nanos: _Optional[int] = ..., reads_needed: _Optional[str] = ..., paid: bool = ..., missed_count: _Optional[int] = ..., expired_count: _Optional[int] = ..., advice: _Optional[_Iterable[str]] = ..., decision: _Optional[str] = ...) -> None: ...

class DiagnosePromptCacheResponse(_message.Message):
    __slots__ = ("prefixes", "prefix_count", "never_read_count", "write_count", "written_tokens", "premium_usd_nanos", "read_count", "read_tokens", "saved_usd_nanos", "start_time", "end_time", "archive_files")
    PREFIXES_FIELD_NUMBER: _ClassVar[int]
    PREFIX_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEVER_READ_COUNT_FIELD_NUMBER: _ClassVar[int]
    WRITE_COUNT_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PREMIUM_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    READ_COUNT_FIELD_NUMBER: _ClassVar[int]
    READ_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAVED_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FILES_FIELD_NUMBER: _ClassVar[int]
    prefixes: _containers.RepeatedCompositeFieldContainer[PromptCachePrefix]
    prefix_count: int
    never_read_count: int
    write_count: int
    written_tokens: int
    premium_usd_nanos: int
    read_count: int
    read_tokens: int
    saved_usd_nanos: int
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    archive_files: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, prefixes: _Optional[_Iterable[_Union[PromptCachePrefix, _Mapping]]] = ..., prefix_count: _Optional[int] = ..., never_read_count: _Optional[int] = ..., write_count: _Optional[int] = ..., written_tokens: _Optional[int] = ..., premium_usd_nanos: _Optional[int] = ..., read_count: _Optional[int] = ..., read_tokens: _Optional[int] = ..., saved_usd_nanos: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., archive_files: _Optional[_Iterable[str]] = ...) -> None: ...

class ListLedgerArchivesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class LedgerArchive(_message.Message):
    __slots__ = ("month", "file", "done", "operation_count", "attempt_count", "journal_count", "hit_count", "cost_usd_nanos", "size_bytes", "sha256", "create_time")
    MONTH_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    month: str
    file: str
    done: bool
    operation_count: int
    attempt_count: int
    journal_count: int
    hit_count: int
    cost_usd_nanos: int
    size_bytes: int
    sha256: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, month: _Optional[str] = ..., file: _Optional[str] = ..., done: bool = ..., operation_count: _Optional[int] = ..., attempt_count: _Optional[int] = ..., journal_count: _Optional[int] = ..., hit_count: _Optional[int] = ..., cost_usd_nanos: _Optional[int] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListLedgerArchivesResponse(_message.Message):
    __slots__ = ("archives", "next_page_token")
    ARCHIVES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    archives: _containers.RepeatedCompositeFieldContainer[LedgerArchive]
    next_page_token: str
    def __init__(self, archives: _Optional[_Iterable[_Union[LedgerArchive, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchUsageRequest(_message.Message):
    __slots__ = ("interval",)
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    interval: _duration_pb2.Duration
    def __init__(self, interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchUsageResponse(_message.Message):
    __slots__ = ("time", "minutes", "in_flight_count", "queued_count", "budgets", "calls")
    TIME_FIELD_NUMBER: _ClassVar[int]
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_COUNT_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    minutes: _containers.RepeatedCompositeFieldContainer[UsageMinute]
    in_flight_count: int
    queued_count: int
    budgets: _containers.RepeatedCompositeFieldContainer[_daemon_pb2.BudgetStatus]
    calls: _containers.RepeatedCompositeFieldContainer[WatchedCall]
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., minutes: _Optional[_Iterable[_Union[UsageMinute, _Mapping]]] = ..., in_flight_count: _Optional[int] = ..., queued_count: _Optional[int] = ..., budgets: _Optional[_Iterable[_Union[_daemon_pb2.BudgetStatus, _Mapping]]] = ..., calls: _Optional[_Iterable[_Union[WatchedCall, _Mapping]]] = ...) -> None: ...

class UsageMinute(_message.Message):
    __slots__ = ("start_time", "paid_count", "free_count", "spent_usd_nanos")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    PAID_COUNT_FIELD_NUMBER: _ClassVar[int]
    FREE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SPENT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    paid_count: int
    free_count: int
    spent_usd_nanos: int
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., paid_count: _Optional[int] = ..., free_count: _Optional[int] = ..., spent_usd_nanos: _Optional[int] = ...) -> None: ...

class WatchedCall(_message.Message):
    __slots__ = ("time", "provider", "model", "service", "session", "cache_outcome", "state", "cost_usd_nanos", "total_us", "ledger_entry_id", "corrected")
    TIME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CACHE_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    LEDGER_ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    CORRECTED_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    provider: str
    model: str
    service: str
    session: str
    cache_outcome: _completion_pb2.CacheOutcome
    state: _message_pb2.AttemptState
    cost_usd_nanos: int
    total_us: int
    ledger_entry_id: str
    corrected: bool
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., service: _Optional[str] = ..., session: _Optional[str] = ..., cache_outcome: _Optional[_Union[_completion_pb2.CacheOutcome, str]] = ..., state: _Optional[_Union[_message_pb2.AttemptState, str]] = ..., cost_usd_nanos: _Optional[int] = ..., total_us: _Optional[int] = ..., ledger_entry_id: _Optional[str] = ..., corrected: bool = ...) -> None: ...
