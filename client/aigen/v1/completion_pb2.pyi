import datetime

from aigen.v1 import message_pb2 as _message_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Strategy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STRATEGY_UNSPECIFIED: _ClassVar[Strategy]
    STRATEGY_PRIMARY: _ClassVar[Strategy]
    STRATEGY_COST_OPTIMIZED: _ClassVar[Strategy]
    STRATEGY_PERFORMANCE: _ClassVar[Strategy]
    STRATEGY_FALLBACK: _ClassVar[Strategy]

class Lane(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LANE_UNSPECIFIED: _ClassVar[Lane]
    LANE_INTERACTIVE: _ClassVar[Lane]
    LANE_FLEX: _ClassVar[Lane]
    LANE_DEFERRED: _ClassVar[Lane]

class CacheMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_MODE_UNSPECIFIED: _ClassVar[CacheMode]
    CACHE_MODE_DEFAULT: _ClassVar[CacheMode]
    CACHE_MODE_READ_ONLY: _ClassVar[CacheMode]
    CACHE_MODE_ONLY_IF_CACHED: _ClassVar[CacheMode]
    CACHE_MODE_REFRESH: _ClassVar[CacheMode]
    CACHE_MODE_NO_STORE: _ClassVar[CacheMode]
    CACHE_MODE_BYPASS: _ClassVar[CacheMode]

class Normalization(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NORMALIZATION_UNSPECIFIED: _ClassVar[Normalization]
    NORMALIZATION_EXACT: _ClassVar[Normalization]
    NORMALIZATION_WHITESPACE: _ClassVar[Normalization]
    NORMALIZATION_FOLD: _ClassVar[Normalization]

class CacheOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_OUTCOME_UNSPECIFIED: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_HIT: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_MISS: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_COALESCED: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_BYPASS: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_REFRESH: _ClassVar[CacheOutcome]
    CACHE_OUTCOME_REPLAY: _ClassVar[CacheOutcome]

class CostBasis(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COST_BASIS_UNSPECIFIED: _ClassVar[CostBasis]
    COST_BASIS_PROVIDER_REPORTED: _ClassVar[CostBasis]
    COST_BASIS_PRICED: _ClassVar[CostBasis]
    COST_BASIS_ESTIMATED: _ClassVar[CostBasis]
    COST_BASIS_UNPRICED: _ClassVar[CostBasis]

class SavingsCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAVINGS_CAUSE_UNSPECIFIED: _ClassVar[SavingsCause]
    SAVINGS_CAUSE_CACHE: _ClassVar[SavingsCause]
    SAVINGS_CAUSE_SINGLE_FLIGHT: _ClassVar[SavingsCause]
    SAVINGS_CAUSE_PROMPT_CACHE: _ClassVar[SavingsCause]
    SAVINGS_CAUSE_BATCH: _ClassVar[SavingsCause]
    SAVINGS_CAUSE_ROUTING: _ClassVar[SavingsCause]
STRATEGY_UNSPECIFIED: Strategy
STRATEGY_PRIMARY: Strategy
STRATEGY_COST_OPTIMIZED: Strategy
STRATEGY_PERFORMANCE: Strategy
STRATEGY_FALLBACK: Strategy
LANE_UNSPECIFIED: Lane
LANE_INTERACTIVE: Lane
LANE_FLEX: Lane
LANE_DEFERRED: Lane
CACHE_MODE_UNSPECIFIED: CacheMode
CACHE_MODE_DEFAULT: CacheMode
CACHE_MODE_READ_ONLY: CacheMode
CACHE_MODE_ONLY_IF_CACHED: CacheMode
CACHE_MODE_REFRESH: CacheMode
CACHE_MODE_NO_STORE: CacheMode
CACHE_MODE_BYPASS: CacheMode
NORMALIZATION_UNSPECIFIED: Normalization
NORMALIZATION_EXACT: Normalization
NORMALIZATION_WHITESPACE: Normalization
NORMALIZATION_FOLD: Normalization
CACHE_OUTCOME_UNSPECIFIED: CacheOutcome
CACHE_OUTCOME_HIT: CacheOutcome
CACHE_OUTCOME_MISS: CacheOutcome
CACHE_OUTCOME_COALESCED: CacheOutcome
CACHE_OUTCOME_BYPASS: CacheOutcome
CACHE_OUTCOME_REFRESH: CacheOutcome
CACHE_OUTCOME_REPLAY: CacheOutcome
COST_BASIS_UNSPECIFIED: CostBasis
COST_BASIS_PROVIDER_REPORTED: CostBasis
COST_BASIS_PRICED: CostBasis
COST_BASIS_ESTIMATED: CostBasis
COST_BASIS_UNPRICED: CostBasis
SAVINGS_CAUSE_UNSPECIFIED: SavingsCause
SAVINGS_CAUSE_CACHE: SavingsCause
SAVINGS_CAUSE_SINGLE_FLIGHT: SavingsCause
SAVINGS_CAUSE_PROMPT_CACHE: SavingsCause
SAVINGS_CAUSE_BATCH: SavingsCause
SAVINGS_CAUSE_ROUTING: SavingsCause

class Accounting(_message.Message):
    __slots__ = ("session", "task", "labels", "allow_repeat")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_REPEAT_FIELD_NUMBER: _ClassVar[int]
    session: str
    task: str
    labels: _containers.ScalarMap[str, str]
    allow_repeat: bool
    def __init__(self, session: _Optional[str] = ..., task: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., allow_repeat: bool = ...) -> None: ...

class PromptCaching(_message.Message):
    __slots__ = ("enabled", "ttl_seconds")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    ttl_seconds: int
    def __init__(self, enabled: bool = ..., ttl_seconds: _Optional[int] = ...) -> None: ...

class CompleteRequest(_message.Message):
    __slots__ = ("messages", "prompt", "system", "tools", "tool_choice", "response_format", "temperature", "top_p", "max_output_tokens", "stop_sequences", "seed", "reasoning_effort", "provider_options_json", "sample_index", "model", "agent", "service", "phase", "strategy", "fallback_models", "context_digest", "mode", "ttl", "namespace", "normalization", "similarity", "lane", "complete_by", "prompt_caching")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CHOICE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STOP_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    REASONING_EFFORT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_OPTIONS_JSON_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_INDEX_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_MODELS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_BY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_CACHING_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_message_pb2.Message]
    prompt: str
    system: _containers.RepeatedCompositeFieldContainer[_message_pb2.Part]
    tools: _containers.RepeatedCompositeFieldContainer[_message_pb2.Tool]
    tool_choice: _message_pb2.ToolChoice
    response_format: _message_pb2.ResponseFormat
    temperature: float
    top_p: float
    max_output_tokens: int
    stop_sequences: _containers.RepeatedScalarFieldContainer[str]
    seed: int
    reasoning_effort: _message_pb2.ReasoningEffort
    provider_options_json: str
    sample_index: int
    model: str
    agent: str
    service: str
    phase: str
    strategy: Strategy
    fallback_models: _containers.RepeatedScalarFieldContainer[str]
    context_digest: bytes
    mode: CacheMode
    ttl: _duration_pb2.Duration
    namespace: str
    normalization: Normalization
    similarity: float
    lane: Lane
    complete_by: _timestamp_pb2.Timestamp
    prompt_caching: PromptCaching
    def __init__(self, messages: _Optional[_Iterable[_Union[_message_pb2.Message, _Mapping]]] = ..., prompt: _Optional[str] = ..., system: _Optional[_Iterable[_Union[_message_pb2.Part, _Mapping]]] = ..., tools: _Optional[_Iterable[_Union[_message_pb2.Tool, _Mapping]]] = ..., tool_choice: _Optional[_Union[_message_pb2.ToolChoice, _Mapping]] = ..., response_format: _Optional[_Union[_message_pb2.ResponseFormat, _Mapping]] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., max_output_tokens: _Optional[int] = ..., stop_sequences: _Optional[_Iterable[str]] = ..., seed: _Optional[int] = ..., reasoning_effort: _Optional[_Union[_message_pb2.ReasoningEffort, str]] = ..., provider_options_json: _Optional[str] = ..., sample_index: _Optional[int] = ..., model: _Optional[str] = ..., agent: _Optional[str] = ..., service: _Optional[str] = ..., phase: _Optional[str] = ..., strategy: _Optional[_Union[Strategy, str]] = ..., fallback_models: _Optional[_Iterable[str]] = ..., context_digest: _Optional[bytes] = ..., mode: _Optional[_Union[CacheMode, str]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., namespace: _Optional[str] = ..., normalization: _Optional[_Union[Normalization, str]] = ..., similarity: _Optional[float] = ..., lane: _Optional[_Union[Lane, str]] = ..., complete_by: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., prompt_caching: _Optional[_Union[PromptCaching, _Mapping]] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("queue_us", "provider_us", "total_us")
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    queue_us: int
    provider_us: int
    total_us: int
    def __init__(self, queue_us: _Optional[int] = ..., provider_us: _Optional[int] = ..., total_us: _Optional[int] = ...) -> None: ...

class CompleteResponse(_message.Message):
    __slots__ = ("parts", "text", "finish_reason", "tool_calls", "resolved_model", "provider", "usage", "cache_key", "request_id", "requested_model", "cache_outcome", "cost_usd_nanos", "cost_basis", "price_entry_id", "saved_usd_nanos", "saved_cause", "attempt_count", "timings", "ledger_entry_id", "warnings")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    CACHE_KEY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_MODEL_FIELD_NUMBER: _ClassVar[int]
    CACHE_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    COST_BASIS_FIELD_NUMBER: _ClassVar[int]
    PRICE_ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    SAVED_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    SAVED_CAUSE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[_message_pb2.Part]
    text: str
    finish_reason: _message_pb2.FinishReason
    tool_calls: _containers.RepeatedCompositeFieldContainer[_message_pb2.ToolCall]
    resolved_model: str
    provider: str
    usage: _message_pb2.TokenUsage
    cache_key: bytes
    request_id: str
    requested_model: str
    cache_outcome: CacheOutcome
    cost_usd_nanos: int
    cost_basis: CostBasis
    price_entry_id: str
    saved_usd_nanos: int
    saved_cause: SavingsCause
    attempt_count: int
    timings: Timings
    ledger_entry_id: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, parts: _Optional[_Iterable[_Union[_message_pb2.Part, _Mapping]]] = ..., text: _Optional[str] = ..., finish_reason: _Optional[_Union[_message_pb2.FinishReason, str]] = ..., tool_calls: _Optional[_Iterable[_Union[_message_pb2.ToolCall, _Mapping]]] = ..., resolved_model: _Optional[str] = ..., provider: _Optional[str] = ..., usage: _Optional[_Union[_message_pb2.TokenUsage, _Mapping]] = ..., cache_key: _Optional[bytes] = ..., request_id: _Optional[str] = ..., requested_model: _Optional[str] = ..., cache_outcome: _Optional[_Union[CacheOutcome, str]] = ..., cost_usd_nanos: _Optional[int] = ..., cost_basis: _Optional[_Union[CostBasis, str]] = ..., price_entry_id: _Optional[str] = ..., saved_usd_nanos: _Optional[int] = ..., saved_cause: _Optional[_Union[SavingsCause, str]] = ..., attempt_count: _Optional[int] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., ledger_entry_id: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class StreamCompleteRequest(_message.Message):
    __slots__ = ("completion",)
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    completion: CompleteRequest
    def __init__(self, completion: _Optional[_Union[CompleteRequest, _Mapping]] = ...) -> None: ...

class StreamCompleteResponse(_message.Message):
    __slots__ = ("text_delta", "thinking_delta", "tool_call", "response")
    TEXT_DELTA_FIELD_NUMBER: _ClassVar[int]
    THINKING_DELTA_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    text_delta: str
    thinking_delta: str
    tool_call: _message_pb2.ToolCall
    response: CompleteResponse
    def __init__(self, text_delta: _Optional[str] = ..., thinking_delta: _Optional[str] = ..., tool_call: _Optional[_Union[_message_pb2.ToolCall, _Mapping]] = ..., response: _Optional[_Union[CompleteResponse, _Mapping]] = ...) -> None: ...

class BatchCompleteRequest(_message.Message):
    __slots__ = ("completions",)
    COMPLETIONS_FIELD_NUMBER: _ClassVar[int]
    completions: _containers.RepeatedCompositeFieldContainer[CompleteRequest]
    def __init__(self, completions: _Optional[_Iterable[_Union[CompleteRequest, _Mapping]]] = ...) -> None: ...

class BatchCompleteResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchCompleteResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchCompleteResult, _Mapping]]] = ...) -> None: ...

class BatchCompleteResult(_message.Message):
    __slots__ = ("response", "status")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    response: CompleteResponse
    status: _status_pb2.Status
    def __init__(self, response: _Optional[_Union[CompleteResponse, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class EstimateCostRequest(_message.Message):
    __slots__ = ("completion",)
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    completion: CompleteRequest
    def __init__(self, completion: _Optional[_Union[CompleteRequest, _Mapping]] = ...) -> None: ...

class EstimateCostResponse(_message.Message):
    __slots__ = ("estimates", "cached")
    ESTIMATES_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    estimates: _containers.RepeatedCompositeFieldContainer[CostEstimate]
    cached: bool
    def __init__(self, estimates: _Optional[_Iterable[_Union[CostEstimate, _Mapping]]] = ..., cached: bool = ...) -> None: ...

class CostEstimate(_message.Message):
    __slots__ = ("provider", "model", "input_tokens", "max_output_tokens", "max_cost_usd_nanos", "price_entry_id")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    PRICE_ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    input_tokens: int
    max_output_tokens: int
    max_cost_usd_nanos: int
    price_entry_id: str
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., input_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., max_cost_usd_nanos: _Optional[int] = ..., price_entry_id: _Optional[str] = ...) -> None: ...

class Savings(_message.Message):
    __slots__ = ("cause", "call_count", "saved_usd_nanos")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    CALL_COUNT_FIELD_NUMBER: _ClassVar[int]
    SAVED_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    cause: SavingsCause
    call_count: int
    saved_usd_nanos: int
    def __init__(self, cause: _Optional[_Union[SavingsCause, str]] = ..., call_count: _Optional[int] = ..., saved_usd_nanos: _Optional[int] = ...) -> None: ...

class ExplainCompletionRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class ExplainCompletionResponse(_message.Message):
    __slots__ = ("request_id", "state", "create_time", "requested_model", "service", "agent", "session", "phase", "task", "labels", "attempts", "free_answers", "refusals", "archive_file")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FREE_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FILE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    state: _message_pb2.AttemptState
    create_time: _timestamp_pb2.Timestamp
    requested_model: str
    service: str
    agent: str
    session: str
    phase: str
    task: str
    labels: _containers.ScalarMap[str, str]
    attempts: _containers.RepeatedCompositeFieldContainer[ExplainedAttempt]
    free_answers: _containers.RepeatedCompositeFieldContainer[FreeAnswer]
    refusals: _containers.RepeatedCompositeFieldContainer[RecentRefusal]
    archive_file: str
    def __init__(self, request_id: _Optional[str] = ..., state: _Optional[_Union[_message_pb2.AttemptState, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., requested_model: _Optional[str] = ..., service: _Optional[str] = ..., agent: _Optional[str] = ..., session: _Optional[str] = ..., phase: _Optional[str] = ..., task: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., attempts: _Optional[_Iterable[_Union[ExplainedAttempt, _Mapping]]] = ..., free_answers: _Optional[_Iterable[_Union[FreeAnswer, _Mapping]]] = ..., refusals: _Optional[_Iterable[_Union[RecentRefusal, _Mapping]]] = ..., archive_file: _Optional[str] = ...) -> None: ...

class ExplainedAttempt(_message.Message):
    __slots__ = ("entry_id", "attempt_number", "state", "reason", "provider", "model", "resolved_model", "cache_outcome", "create_time", "update_time", "provider_us", "total_us", "reserved_usd_nanos", "cost_usd_nanos", "cost_basis", "unknown_low_usd_nanos", "unknown_high_usd_nanos", "usage", "price_entry_id", "arithmetic", "flags", "savings", "windows", "decisions", "prefix", "read_prefix", "write_premium_usd_nanos")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_MODEL_FIELD_NUMBER: _ClassVar[int]
    CACHE_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    RESERVED_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    COST_BASIS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_LOW_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_HIGH_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    PRICE_ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    ARITHMETIC_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    SAVINGS_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    READ_PREFIX_FIELD_NUMBER: _ClassVar[int]
    WRITE_PREMIUM_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    attempt_number: int
    state: _message_pb2.AttemptState
    reason: str
    provider: str
    model: str
    resolved_model: str
    cache_outcome: CacheOutcome
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    provider_us: int
    total_us: int
    reserved_usd_nanos: int
    cost_usd_nanos: int
    cost_basis: CostBasis
    unknown_low_usd_nanos: int
    unknown_high_usd_nanos: int
    usage: _message_pb2.TokenUsage
    price_entry_id: str
    arithmetic: CostArithmetic
    flags: _containers.RepeatedScalarFieldContainer[str]
    savings: _containers.RepeatedCompositeFieldContainer[Savings]
    windows: _containers.RepeatedCompositeFieldContainer[ExplainedWindow]
    decisions: _containers.RepeatedScalarFieldContainer[str]
    prefix: str
    read_prefix: str
    write_premium_usd_nanos: int
    def __init__(self, entry_id: _Optional[str] = ..., attempt_number: _Optional[int] = ..., state: _Optional[_Union[_message_pb2.AttemptState, str]] = ..., reason: _Optional[str] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., resolved_model: _Optional[str] = ..., cache_outcome: _Optional[_Union[CacheOutcome, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., provider_us: _Optional[int] = ..., total_us: _Optional[int] = ..., reserved_usd_nanos: _Optional[int] = ..., cost_usd_nanos: _Optional[int] = ..., cost_basis: _Optional[_Union[CostBasis, str]] = ..., unknown_low_usd_nanos: _Optional[int] = ..., unknown_high_usd_nanos: _Optional[int] = ..., usage: _Optional[_Union[_message_pb2.TokenUsage, _Mapping]] = ..., price_entry_id: _Optional[str] = ..., arithmetic: _Optional[_Union[CostArithmetic, _Mapping]] = ..., flags: _Optional[_Iterable[str]] = ..., savings: _Optional[_Iterable[_Union[Savings, _Mapping]]] = ..., windows: _Optional[_Iterable[_Union[ExplainedWindow, _Mapping]]] = ..., decisions: _Optional[_Iterable[str]] = ..., prefix: _Optional[str] = ..., read_prefix: _Optional[str] = ..., write_premium_usd_nanos: _Optional[int] = ...) -> None: ...

class CostArithmetic(_message.Message):
    __slots__ = ("price_entry_id", "source", "checked_on", "above_tokens", "lines", "exact_usd_nanos", "cost_usd_nanos", "booked")
    PRICE_ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CHECKED_ON_FIELD_NUMBER: _ClassVar[int]
    ABOVE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    EXACT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    BOOKED_FIELD_NUMBER: _ClassVar[int]
    price_entry_id: str
    source: str
    checked_on: str
    above_tokens: int
    lines: _containers.RepeatedCompositeFieldContainer[CostLine]
    exact_usd_nanos: str
    cost_usd_nanos: int
    booked: bool
    def __init__(self, price_entry_id: _Optional[str] = ..., source: _Optional[str] = ..., checked_on: _Optional[str] = ..., above_tokens: _Optional[int] = ..., lines: _Optional[_Iterable[_Union[CostLine, _Mapping]]] = ..., exact_usd_nanos: _Optional[str] = ..., cost_usd_nanos: _Optional[int] = ..., booked: bool = ...) -> None: ...

class CostLine(_message.Message):
    __slots__ = ("name", "count", "rate", "stand_in", "usd_nanos")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    STAND_IN_FIELD_NUMBER: _ClassVar[int]
    USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    name: str
    count: int
    rate: str
    stand_in: bool
    usd_nanos: str
    def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ..., rate: _Optional[str] = ..., stand_in: bool = ..., usd_nanos: _Optional[str] = ...) -> None: ...

class ExplainedWindow(_message.Message):
    __slots__ = ("budget", "key", "window", "limit_usd_nanos", "spent_usd_nanos", "reserved_usd_nanos")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    LIMIT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    SPENT_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    budget: str
    key: str
    window: str
    limit_usd_nanos: int
    spent_usd_nanos: int
    reserved_usd_nanos: int
    def __init__(self, budget: _Optional[str] = ..., key: _Optional[str] = ..., window: _Optional[str] = ..., limit_usd_nanos: _Optional[int] = ..., spent_usd_nanos: _Optional[int] = ..., reserved_usd_nanos: _Optional[int] = ...) -> None: ...

class FreeAnswer(_message.Message):
    __slots__ = ("time", "cache_outcome", "provider", "model", "saved_usd_nanos", "saved_cause", "total_us")
    TIME_FIELD_NUMBER: _ClassVar[int]
    CACHE_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SAVED_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    SAVED_CAUSE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    cache_outcome: CacheOutcome
    provider: str
    model: str
    saved_usd_nanos: int
    saved_cause: SavingsCause
    total_us: int
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cache_outcome: _Optional[_Union[CacheOutcome, str]] = ..., provider: _Optional[str] = ..., model: _Optional[str] = ..., saved_usd_nanos: _Optional[int] = ..., saved_cause: _Optional[_Union[SavingsCause, str]] = ..., total_us: _Optional[int] = ...) -> None: ...

class RecentRefusal(_message.Message):
    __slots__ = ("time", "reason", "text", "budget")
    TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    reason: str
    text: str
    budget: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., text: _Optional[str] = ..., budget: _Optional[str] = ...) -> None: ...
