import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BudgetPeriod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUDGET_PERIOD_UNSPECIFIED: _ClassVar[BudgetPeriod]
    BUDGET_PERIOD_DAILY: _ClassVar[BudgetPeriod]
    BUDGET_PERIOD_WEEKLY: _ClassVar[BudgetPeriod]
    BUDGET_PERIOD_MONTHLY: _ClassVar[BudgetPeriod]
    BUDGET_PERIOD_SESSION: _ClassVar[BudgetPeriod]

class BudgetAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUDGET_ACTION_UNSPECIFIED: _ClassVar[BudgetAction]
    BUDGET_ACTION_WARN: _ClassVar[BudgetAction]
    BUDGET_ACTION_REFUSE: _ClassVar[BudgetAction]
    BUDGET_ACTION_PAUSE: _ClassVar[BudgetAction]
    BUDGET_ACTION_DOWNGRADE: _ClassVar[BudgetAction]

class BudgetOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUDGET_ORIGIN_UNSPECIFIED: _ClassVar[BudgetOrigin]
    BUDGET_ORIGIN_SETTINGS: _ClassVar[BudgetOrigin]
    BUDGET_ORIGIN_SET: _ClassVar[BudgetOrigin]

class AlertKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALERT_KIND_UNSPECIFIED: _ClassVar[AlertKind]
    ALERT_KIND_THRESHOLD: _ClassVar[AlertKind]
    ALERT_KIND_PAUSED: _ClassVar[AlertKind]
    ALERT_KIND_RESUMED: _ClassVar[AlertKind]
BUDGET_PERIOD_UNSPECIFIED: BudgetPeriod
BUDGET_PERIOD_DAILY: BudgetPeriod
BUDGET_PERIOD_WEEKLY: BudgetPeriod
BUDGET_PERIOD_MONTHLY: BudgetPeriod
BUDGET_PERIOD_SESSION: BudgetPeriod
BUDGET_ACTION_UNSPECIFIED: BudgetAction
BUDGET_ACTION_WARN: BudgetAction
BUDGET_ACTION_REFUSE: BudgetAction
BUDGET_ACTION_PAUSE: BudgetAction
BUDGET_ACTION_DOWNGRADE: BudgetAction
BUDGET_ORIGIN_UNSPECIFIED: BudgetOrigin
BUDGET_ORIGIN_SETTINGS: BudgetOrigin
BUDGET_ORIGIN_SET: BudgetOrigin
ALERT_KIND_UNSPECIFIED: AlertKind
ALERT_KIND_THRESHOLD: AlertKind
ALERT_KIND_PAUSED: AlertKind
ALERT_KIND_RESUMED: AlertKind

class Budget(_message.Message):
    __slots__ = ("name", "selector", "each", "period", "limit_usd_nanos", "action", "require_known_prices", "downgrade_to", "downgrade_at_percent", "origin", "create_time", "update_time")
    class SelectorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    EACH_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_KNOWN_PRICES_FIELD_NUMBER: _ClassVar[int]
    DOWNGRADE_TO_FIELD_NUMBER: _ClassVar[int]
    DOWNGRADE_AT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    selector: _containers.ScalarMap[str, str]
    each: str
    period: BudgetPeriod
    limit_usd_nanos: int
    action: BudgetAction
    require_known_prices: bool
    downgrade_to: str
    downgrade_at_percent: int
    origin: BudgetOrigin
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., selector: _Optional[_Mapping[str, str]] = ..., each: _Optional[str] = ..., period: _Optional[_Union[BudgetPeriod, str]] = ..., limit_usd_nanos: _Optional[int] = ..., action: _Optional[_Union[BudgetAction, str]] = ..., require_known_prices: bool = ..., downgrade_to: _Optional[str] = ..., downgrade_at_percent: _Optional[int] = ..., origin: _Optional[_Union[BudgetOrigin, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BudgetWindow(_message.Message):
    __slots__ = ("budget", "key", "window", "action", "limit_usd_nanos", "spent_usd_nanos", "reserved_usd_nanos", "start_time", "reset_time", "paused", "downgraded", "forecast_usd_nanos", "forecast_limit_time")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    SPENT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    RESET_TIME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    DOWNGRADED_FIELD_NUMBER: _ClassVar[int]
    FORECAST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    FORECAST_LIMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    budget: str
    key: str
    window: str
    action: BudgetAction
    limit_usd_nanos: int
    spent_usd_nanos: int
    reserved_usd_nanos: int
    start_time: _timestamp_pb2.Timestamp
    reset_time: _timestamp_pb2.Timestamp
    paused: bool
    downgraded: bool
    forecast_usd_nanos: int
    forecast_limit_time: _timestamp_pb2.Timestamp
    def __init__(self, budget: _Optional[str] = ..., key: _Optional[str] = ..., window: _Optional[str] = ..., action: _Optional[_Union[BudgetAction, str]] = ..., limit_usd_nanos: _Optional[int] = ..., spent_usd_nanos: _Optional[int] = ..., reserved_usd_nanos: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reset_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., paused: bool = ..., downgraded: bool = ..., forecast_usd_nanos: _Optional[int] = ..., forecast_limit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Alert(_message.Message):
    __slots__ = ("id", "kind", "budget", "key", "window", "percent", "limit_usd_nanos", "spent_usd_nanos", "text", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    SPENT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: int
    kind: AlertKind
    budget: str
    key: str
    window: str
    percent: int
    limit_usd_nanos: int
    spent_usd_nanos: int
    text: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[int] = ..., kind: _Optional[_Union[AlertKind, str]] = ..., budget: _Optional[str] = ..., key: _Optional[str] = ..., window: _Optional[str] = ..., percent: _Optional[int] = ..., limit_usd_nanos: _Optional[int] = ..., spent_usd_nanos: _Optional[int] = ..., text: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListBudgetsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBudgetsResponse(_message.Message):
    __slots__ = ("budgets", "next_page_token")
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    budgets: _containers.RepeatedCompositeFieldContainer[Budget]
    next_page_token: str
    def __init__(self, budgets: _Optional[_Iterable[_Union[Budget, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetBudgetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetBudgetResponse(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: Budget
    def __init__(self, budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class SetBudgetRequest(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: Budget
    def __init__(self, budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class SetBudgetResponse(_message.Message):
    __slots__ = ("budget",)
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    budget: Budget
    def __init__(self, budget: _Optional[_Union[Budget, _Mapping]] = ...) -> None: ...

class DeleteBudgetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteBudgetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBudgetStatusRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetBudgetStatusResponse(_message.Message):
    __slots__ = ("windows",)
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    windows: _containers.RepeatedCompositeFieldContainer[BudgetWindow]
    def __init__(self, windows: _Optional[_Iterable[_Union[BudgetWindow, _Mapping]]] = ...) -> None: ...

class PauseBudgetRequest(_message.Message):
    __slots__ = ("name", "key")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    name: str
    key: str
    def __init__(self, name: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class PauseBudgetResponse(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: bool = ...) -> None: ...

class ResumeBudgetRequest(_message.Message):
    __slots__ = ("name", "key")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    name: str
    key: str
    def __init__(self, name: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class ResumeBudgetResponse(_message.Message):
    __slots__ = ("resumed_count",)
    RESUMED_COUNT_FIELD_NUMBER: _ClassVar[int]
    resumed_count: int
    def __init__(self, resumed_count: _Optional[int] = ...) -> None: ...

class ListAlertsRequest(_message.Message):
    __slots__ = ("budget", "page_size", "page_token")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    budget: str
    page_size: int
    page_token: str
    def __init__(self, budget: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAlertsResponse(_message.Message):
    __slots__ = ("alerts", "next_page_token")
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    alerts: _containers.RepeatedCompositeFieldContainer[Alert]
    next_page_token: str
    def __init__(self, alerts: _Optional[_Iterable[_Union[Alert, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchAlertsRequest(_message.Message):
    __slots__ = ("budget", "after_alert_id")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    AFTER_ALERT_ID_FIELD_NUMBER: _ClassVar[int]
    budget: str
    after_alert_id: int
    def __init__(self, budget: _Optional[str] = ..., after_alert_id: _Optional[int] = ...) -> None: ...

class WatchAlertsResponse(_message.Message):
    __slots__ = ("alert",)
    ALERT_FIELD_NUMBER: _ClassVar[int]
    alert: Alert
    def __init__(self, alert: _Optional[_Union[Alert, _Mapping]] = ...) -> None: ...
