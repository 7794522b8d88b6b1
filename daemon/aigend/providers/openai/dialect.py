"""What a server that speaks OpenAI's formats knows of them: OpenAI itself knows all, others refuse fields that they don't know."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from aigend.config import ProviderSettings
from aigend.errors import capability_missing
from aigend.types import CompletionRequest, Lane, Part, Processing

_OPENAI_HOSTS = ".openai.com"
_OWN_HOSTS = (_OPENAI_HOSTS, ".openai.azure.com")
_KEPT_ANYWAY_S = 300  # OpenAI keeps a prefix for five minutes from its last use, and often longer
_KEPT_LONG_S = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Which optional fields a server knows."""

    limit_field: str = "max_completion_tokens"  # what it calls the bound of a chat completion
    cache_fields: bool = True  # whether it knows prompt_cache_key and prompt_cache_retention
    tiers: bool = False  # whether it sells the same model at several prices
    batches: bool = False  # whether it has batch jobs


def dialect_of(settings: ProviderSettings, base_url: str) -> Dialect:
    """Return what the server at an address knows, as the settings say or else as its name suggests."""
    host = urlsplit(base_url).hostname or ""
    own = host.endswith(_OWN_HOSTS)
    limit_field = settings.max_tokens_field
    if limit_field == "auto":
        limit_field = "max_completion_tokens" if own else "max_tokens"
    cache_fields = own if settings.prompt_cache_fields == "auto" else settings.prompt_cache_fields == "send"
    openai = host.endswith(_OPENAI_HOSTS)
    tiers = openai if settings.service_tiers == "auto" else settings.service_tiers == "send"
    batches = openai if settings.batch_api == "auto" else settings.batch_api == "use"
    return Dialect(limit_field=limit_field, cache_fields=cache_fields, tiers=tiers, batches=batches)


def check_caching(request: CompletionRequest, dialect: Dialect, *, adapter: str) -> None:
    """Return if what is wished of the prompt cache comes true: OpenAI caches by itself, and can be asked how long, no more.

    Raises:
        DomainError: CAPABILITY_MISSING, naming the wish.
    """
    wanted = request.prompt_caching
    if wanted is not None and wanted.enabled is False:
        raise capability_missing("prompt_caching.enabled", "false", "such providers cache prefixes by themselves")
    for field, seconds in _lifetimes(request):
        if not dialect.cache_fields:
            raise capability_missing(field, f"{seconds} s", f"{adapter} can't tell this server what to cache: it does so by itself")
        if seconds > _KEPT_LONG_S:
            raise capability_missing(field, f"{seconds} s", f"{adapter} can ask for {_KEPT_LONG_S} s at most")


def tier_fields(request: CompletionRequest, dialect: Dialect) -> dict[str, str]:
    """Return the field that holds a call to the published price: unset, the account's own settings may make it cheaper or dearer.

    Source:
        OpenAI's SDK 3.52, `service_tier` of completions and responses; OpenAI, "Flex processing", read 2026-11.
    """
    if not dialect.tiers:
        return {}
    return {"service_tier": "flex" if request.lane is Lane.FLEX else "default"}


def processing_of(tier: object) -> Processing:
    """Return which price applies by the tier that an answer says it was served at: what it names may differ from what was asked."""
    return Processing.FLEX if tier == "flex" else Processing.STANDARD


def cache_fields(request: CompletionRequest, dialect: Dialect, *, prefix_key: str) -> dict[str, str]:
    """Return the fields by which requests that share a prefix find each other's cache.

    Args:
        request: What is asked; it passed `check_caching`.
        dialect: What the server knows.
        prefix_key: The same for requests that share a stable prefix; empty: there is none.

    Source:
        OpenAI, "Prompt caching": prompt_cache_key, retention. Read 2026-11.
    """
    if not dialect.cache_fields:
        return {}
    fields = {"prompt_cache_key": prefix_key} if prefix_key else {}
    if any(seconds > _KEPT_ANYWAY_S for _, seconds in _lifetimes(request)):
        fields["prompt_cache_retention"] = "24h"  # the only one above five minutes
    return fields


def _lifetimes(request: CompletionRequest) -> list[tuple[str, int]]:
    """Return for how many seconds prefixes shall be kept, with the field that says so."""
    wanted = request.prompt_caching
    found = [("prompt_caching.ttl", wanted.ttl_s)] if wanted is not None and wanted.ttl_s else []
    found += _marks(request.system, "system")
    for index, message in enumerate(request.messages):
        found += _marks(message.parts, f"messages[{index}].parts")
    return found


def _marks(parts: tuple[Part, ...], where: str) -> list[tuple[str, int]]:
    marks = ((index, part.prompt_cache_mark_s) for index, part in enumerate(parts))
    return [(f"{where}[{index}].prompt_cache_mark", seconds) for index, seconds in marks if seconds is not None]
