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
