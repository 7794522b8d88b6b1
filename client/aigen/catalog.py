"""Words of the model catalog, which requests, presets and reports share."""

from enum import StrEnum


class ModelTier(StrEnum):
    """Power and price class of a model."""

    MINI = "mini"
    STANDARD = "standard"
    ADVANCED = "advanced"
    PREMIUM = "premium"


class Capability(StrEnum):
    """What a model can do."""

    CHAT = "chat"
    CODE_GENERATION = "code_generation"
    ANALYSIS = "analysis"
    REASONING = "reasoning"
    VISION = "vision"
    FUNCTION_CALLING = "function_calling"
    SEARCH = "search"
    JSON_SCHEMA = "json_schema"
    RAG = "rag"
