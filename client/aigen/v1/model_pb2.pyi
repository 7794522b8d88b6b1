import datetime

from aigen.v1 import completion_pb2 as _completion_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelTier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_TIER_UNSPECIFIED: _ClassVar[ModelTier]
    MODEL_TIER_MINI: _ClassVar[ModelTier]
    MODEL_TIER_STANDARD: _ClassVar[ModelTier]
    MODEL_TIER_ADVANCED: _ClassVar[ModelTier]
    MODEL_TIER_PREMIUM: _ClassVar[ModelTier]

class ModelCapability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_CAPABILITY_UNSPECIFIED: _ClassVar[ModelCapability]
    MODEL_CAPABILITY_CHAT: _ClassVar[ModelCapability]
    MODEL_CAPABILITY_CODE_GENERATION: _ClassVar[ModelCapability]
    MODEL_CAPABILITY_ANALYSIS: _ClassVar[ModelCapability]
    MODEL_CAPABILITY_REASONING: _ClassVar[ModelCapability]
    MODEL_CAPABILITY_VISION: _ClassVar[ModelCapability]
    MODEL_CAPABILITY_FUNCTION_CALLING: _ClassVar[ModelCapability]
    MODEL_CAPABILITY_SEARCH: _ClassVar[ModelCapability]
    MODEL_CAPABILITY_JSON_SCHEMA: _ClassVar[ModelCapability]
    MODEL_CAPABILITY_RAG: _ClassVar[ModelCapability]
MODEL_TIER_UNSPECIFIED: ModelTier
MODEL_TIER_MINI: ModelTier
MODEL_TIER_STANDARD: ModelTier
MODEL_TIER_ADVANCED: ModelTier
MODEL_TIER_PREMIUM: ModelTier
MODEL_CAPABILITY_UNSPECIFIED: ModelCapability
MODEL_CAPABILITY_CHAT: ModelCapability
MODEL_CAPABILITY_CODE_GENERATION: ModelCapability
MODEL_CAPABILITY_ANALYSIS: ModelCapability
MODEL_CAPABILITY_REASONING: ModelCapability
MODEL_CAPABILITY_VISION: ModelCapability
MODEL_CAPABILITY_FUNCTION_CALLING: ModelCapability
MODEL_CAPABILITY_SEARCH: ModelCapability
MODEL_CAPABILITY_JSON_SCHEMA: ModelCapability
MODEL_CAPABILITY_RAG: ModelCapability

class Model(_message.Message):
    __slots__ = ("id", "provider", "aliases", "agents", "tier", "capabilities", "context_tokens", "max_output_tokens", "default_max_output_tokens", "min_cacheable_tokens", "description", "price", "available")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MIN_CACHEABLE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    id: str
    provider: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    agents: _containers.RepeatedScalarFieldContainer[str]
    tier: ModelTier
    capabilities: _containers.RepeatedScalarFieldContainer[ModelCapability]
    context_tokens: int
    max_output_tokens: int
    default_max_output_tokens: int
    min_cacheable_tokens: int
    description: str
    price: Price
    available: bool
    def __init__(self, id: _Optional[str] = ..., provider: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., agents: _Optional[_Iterable[str]] = ..., tier: _Optional[_Union[ModelTier, str]] = ..., capabilities: _Optional[_Iterable[_Union[ModelCapability, str]]] = ..., context_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., default_max_output_tokens: _Optional[int] = ..., min_cacheable_tokens: _Optional[int] = ..., description: _Optional[str] = ..., price: _Optional[_Union[Price, _Mapping]] = ..., available: bool = ...) -> None: ...

class Price(_message.Message):
    __slots__ = ("price_entry_id", "input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "source", "checked_on")
    PRICE_ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CACHE_READ_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_5M_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_1H_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CHECKED_ON_FIELD_NUMBER: _ClassVar[int]
    price_entry_id: str
    input: str
    output: str
    cache_read: str
    cache_write_5m: str
    cache_write_1h: str
    source: str
    checked_on: str
    def __init__(self, price_entry_id: _Optional[str] = ..., input: _Optional[str] = ..., output: _Optional[str] = ..., cache_read: _Optional[str] = ..., cache_write_5m: _Optional[str] = ..., cache_write_1h: _Optional[str] = ..., source: _Optional[str] = ..., checked_on: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("provider", "tier", "capability", "page_size", "page_token")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    CAPABILITY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider: str
    tier: ModelTier
    capability: ModelCapability
    page_size: int
    page_token: str
    def __init__(self, provider: _Optional[str] = ..., tier: _Optional[_Union[ModelTier, str]] = ..., capability: _Optional[_Union[ModelCapability, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class ServicePolicy(_message.Message):
    __slots__ = ("service", "restricted", "allowed_tiers", "named_models", "required_capabilities", "allowed_models", "default_model", "strategy", "ttl", "normalization")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    RESTRICTED_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_TIERS_FIELD_NUMBER: _ClassVar[int]
    NAMED_MODELS_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_MODEL_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    service: str
    restricted: bool
    allowed_tiers: _containers.RepeatedScalarFieldContainer[ModelTier]
    named_models: _containers.RepeatedScalarFieldContainer[str]
    required_capabilities: _containers.RepeatedScalarFieldContainer[ModelCapability]
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    default_model: str
    strategy: _completion_pb2.Strategy
    ttl: _duration_pb2.Duration
    normalization: _completion_pb2.Normalization
    def __init__(self, service: _Optional[str] = ..., restricted: bool = ..., allowed_tiers: _Optional[_Iterable[_Union[ModelTier, str]]] = ..., named_models: _Optional[_Iterable[str]] = ..., required_capabilities: _Optional[_Iterable[_Union[ModelCapability, str]]] = ..., allowed_models: _Optional[_Iterable[str]] = ..., default_model: _Optional[str] = ..., strategy: _Optional[_Union[_completion_pb2.Strategy, str]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., normalization: _Optional[_Union[_completion_pb2.Normalization, str]] = ...) -> None: ...

class ListServicePoliciesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListServicePoliciesResponse(_message.Message):
    __slots__ = ("service_policies", "next_page_token")
    SERVICE_POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    service_policies: _containers.RepeatedCompositeFieldContainer[ServicePolicy]
    next_page_token: str
    def __init__(self, service_policies: _Optional[_Iterable[_Union[ServicePolicy, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetServicePolicyRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class GetServicePolicyResponse(_message.Message):
    __slots__ = ("service_policy", "models")
    SERVICE_POLICY_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    service_policy: ServicePolicy
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, service_policy: _Optional[_Union[ServicePolicy, _Mapping]] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class PriceTier(_message.Message):
    __slots__ = ("above_tokens", "rates")
    ABOVE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RATES_FIELD_NUMBER: _ClassVar[int]
    above_tokens: int
    rates: Price
    def __init__(self, above_tokens: _Optional[int] = ..., rates: _Optional[_Union[Price, _Mapping]] = ...) -> None: ...

class ListedPrice(_message.Message):
    __slots__ = ("provider", "model", "price", "tiers", "batch", "request_fee_usd_nanos", "search_fee_usd_nanos", "valid_from_time", "in_force", "stale", "flex")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FEE_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FEE_USD_NANOS_FIELD_NUMBER: _ClassVar[int]
    VALID_FROM_TIME_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    FLEX_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    price: Price
    tiers: _containers.RepeatedCompositeFieldContainer[PriceTier]
    batch: Price
    request_fee_usd_nanos: str
    search_fee_usd_nanos: str
    valid_from_time: _timestamp_pb2.Timestamp
    in_force: bool
    stale: bool
    flex: Price
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., price: _Optional[_Union[Price, _Mapping]] = ..., tiers: _Optional[_Iterable[_Union[PriceTier, _Mapping]]] = ..., batch: _Optional[_Union[Price, _Mapping]] = ..., request_fee_usd_nanos: _Optional[str] = ..., search_fee_usd_nanos: _Optional[str] = ..., valid_from_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., in_force: bool = ..., stale: bool = ..., flex: _Optional[_Union[Price, _Mapping]] = ...) -> None: ...

class ListPricesRequest(_message.Message):
    __slots__ = ("provider", "model", "page_size", "page_token")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider: str
    model: str
    page_size: int
    page_token: str
    def __init__(self, provider: _Optional[str] = ..., model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPricesResponse(_message.Message):
    __slots__ = ("prices", "next_page_token")
    PRICES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    prices: _containers.RepeatedCompositeFieldContainer[ListedPrice]
    next_page_token: str
    def __init__(self, prices: _Optional[_Iterable[_Union[ListedPrice, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RefreshPricesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RefreshPricesResponse(_message.Message):
    __slots__ = ("previous_version", "version", "changed_prices")
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_PRICES_FIELD_NUMBER: _ClassVar[int]
    previous_version: str
    version: str
    changed_prices: _containers.RepeatedCompositeFieldContainer[ListedPrice]
    def __init__(self, previous_version: _Optional[str] = ..., version: _Optional[str] = ..., changed_prices: _Optional[_Iterable[_Union[ListedPrice, _Mapping]]] = ...) -> None: ...
