import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DaemonState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DAEMON_STATE_UNSPECIFIED: _ClassVar[DaemonState]
    DAEMON_STATE_SERVING: _ClassVar[DaemonState]
    DAEMON_STATE_CACHE_ONLY: _ClassVar[DaemonState]
    DAEMON_STATE_DRAINING: _ClassVar[DaemonState]
DAEMON_STATE_UNSPECIFIED: DaemonState
DAEMON_STATE_SERVING: DaemonState
DAEMON_STATE_CACHE_ONLY: DaemonState
DAEMON_STATE_DRAINING: DaemonState

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("version", "process_id", "state", "start_time", "socket_path", "state_directory", "cache_directory", "in_flight_count", "queued_count", "detached_count", "ledger_epoch", "ledger_sequence", "resident_bytes", "providers", "budgets", "warnings", "deferred_waiting_count", "deferred_submitted_count", "open_upload_count", "open_batch_job_count", "intake_waiting_count")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    SOCKET_PATH_FIELD_NUMBER: _ClassVar[int]
    STATE_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    CACHE_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DETACHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    DEFERRED_WAITING_COUNT_FIELD_NUMBER: _ClassVar[int]
    DEFERRED_SUBMITTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPEN_UPLOAD_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPEN_BATCH_JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    INTAKE_WAITING_COUNT_FIELD_NUMBER: _ClassVar[int]
    version: str
    process_id: int
    state: DaemonState
    start_time: _timestamp_pb2.Timestamp
    socket_path: str
    state_directory: str
    cache_directory: str
    in_flight_count: int
    queued_count: int
    detached_count: int
    ledger_epoch: int
    ledger_sequence: int
    resident_bytes: int
    providers: _containers.RepeatedCompositeFieldContainer[ProviderStatus]
    budgets: _containers.RepeatedCompositeFieldContainer[BudgetStatus]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    deferred_waiting_count: int
    deferred_submitted_count: int
    open_upload_count: int
    open_batch_job_count: int
    intake_waiting_count: int
    def __init__(self, version: _Optional[str] = ..., process_id: _Optional[int] = ..., state: _Optional[_Union[DaemonState, str]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., socket_path: _Optional[str] = ..., state_directory: _Optional[str] = ..., cache_directory: _Optional[str] = ..., in_flight_count: _Optional[int] = ..., queued_count: _Optional[int] = ..., detached_count: _Optional[int] = ..., ledger_epoch: _Optional[int] = ..., ledger_sequence: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., providers: _Optional[_Iterable[_Union[ProviderStatus, _Mapping]]] = ..., budgets: _Optional[_Iterable[_Union[BudgetStatus, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., deferred_waiting_count: _Optional[int] = ..., deferred_submitted_count: _Optional[int] = ..., open_upload_count: _Optional[int] = ..., open_batch_job_count: _Optional[int] = ..., intake_waiting_count: _Optional[int] = ...) -> None: ...

class ProviderStatus(_message.Message):
    __slots__ = ("name", "adapter", "loaded", "in_flight_count", "keys", "queued_count", "slot_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    adapter: str
    loaded: bool
    in_flight_count: int
    keys: _containers.RepeatedCompositeFieldContainer[ProviderKeyStatus]
    queued_count: int
    slot_count: int
    def __init__(self, name: _Optional[str] = ..., adapter: _Optional[str] = ..., loaded: bool = ..., in_flight_count: _Optional[int] = ..., keys: _Optional[_Iterable[_Union[ProviderKeyStatus, _Mapping]]] = ..., queued_count: _Optional[int] = ..., slot_count: _Optional[int] = ...) -> None: ...

class ProviderKeyStatus(_message.Message):
    __slots__ = ("number", "circuit", "failure_count", "refused", "retry_delay")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    number: int
    circuit: str
    failure_count: int
    refused: bool
    retry_delay: _duration_pb2.Duration
    def __init__(self, number: _Optional[int] = ..., circuit: _Optional[str] = ..., failure_count: _Optional[int] = ..., refused: bool = ..., retry_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class BudgetStatus(_message.Message):
    __slots__ = ("name", "window", "limit_usd_nanos", "spent_usd_nanos", "reserved_usd_nanos", "action", "reset_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    LIMIT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    SPENT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESET_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    window: str
    limit_usd_nanos: int
    spent_usd_nanos: int
    reserved_usd_nanos: int
    action: str
    reset_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., window: _Optional[str] = ..., limit_usd_nanos: _Optional[int] = ..., spent_usd_nanos: _Optional[int] = ..., reserved_usd_nanos: _Optional[int] = ..., action: _Optional[str] = ..., reset_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetSettingsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSettingsResponse(_message.Message):
    __slots__ = ("settings",)
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    settings: _containers.RepeatedCompositeFieldContainer[Setting]
    def __init__(self, settings: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ...) -> None: ...

class Setting(_message.Message):
    __slots__ = ("key", "value_json", "origin")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    key: str
    value_json: str
    origin: str
    def __init__(self, key: _Optional[str] = ..., value_json: _Optional[str] = ..., origin: _Optional[str] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("timeout",)
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    timeout: _duration_pb2.Duration
    def __init__(self, timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("in_flight_count",)
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    in_flight_count: int
    def __init__(self, in_flight_count: _Optional[int] = ...) -> None: ...
