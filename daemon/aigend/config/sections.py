"""The settings as immutable, validated values: one class a section, one sentence a field.

The sentences are what `aigend config default` prints. Where values are read from stands in `loading`.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from aigend.config.deferred import DeferredSettings
from aigend.config.inbox import InboxSettings
from aigend.config.limits import LimitSettings
from aigend.config.section import Name, Section
from aigend.config.units import Bytes, Count, KeptFor, Money, Ratio, Seconds, Wait, spelled

GUARDED = "guarded"  # marks a field in which a key may stand by mistake, so that errors do not show what does
USUAL_ADAPTERS = {"anthropic": "anthropic", "google": "gemini", "perplexity": "perplexity"}  # by the provider's name


class FeatureSettings(Section):
    """Switches; each turns one feature off without touching the others."""

    cache: bool = Field(default=True, description="Answer repeated requests from the response cache.")
    single_flight: bool = Field(default=True, description="Let equal requests in flight share one provider call.")
    replay: bool = Field(default=True, description="Answer a request id seen before with its first reply instead of a second call.")
    budgets: bool = Field(default=True, description="Hold calls to the budgets listed below.")
    streaming: bool = Field(default=True, description="Serve StreamComplete.")
    prompt_caching: bool = Field(default=True, description="Mark prefixes for the providers' prompt caches.")
    deferred: bool = Field(
        default=True, description="Take calls for lane DEFERRED and batch jobs; what was taken goes on when it is turned off."
    )
    circuit_breaker: bool = Field(
        default=True, description="Pass a provider's key by without a call while it fails; `breaker` says when."
    )
    adaptive_concurrency: bool = Field(
        default=True, description="Have fewer calls under way at a provider while it refuses them or is much slower than usual."
    )


class CacheSettings(Section):
    """The response cache."""

    ttl_s: Seconds = Field(
        86_400.0, description="How long an answer stays fresh after it was made, where the request does not say."
    )
    max_size_bytes: Annotated[Bytes, Field(ge=1_048_576)] = Field(
        500_000_000, description="Size limit of all stored answers; the least recently used go first."
    )
    memory_size_bytes: Bytes = Field(64_000_000, description="Size limit of the answers kept in memory; 0 keeps none.")
    compression: bool = Field(default=True, description="Compress answers on disk.")
    normalization: Literal["exact", "whitespace", "fold"] = Field(
        "fold", description="Which differences in user text do not change the cache key, where neither request nor service says."
    )


class KeySource(Section):
    """Where one of several keys comes from: exactly one of these."""

    env: Annotated[str, Field(min_length=1)] | None = None
    file: Path | None = None
    credential: Annotated[str, spelled(r"[A-Za-z0-9._-]{1,255}", "1 to 255 letters, digits, '.', '_' or '-'")] | None = None
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    value: SecretStr | None = None  # written in the settings; of the other sources, what they held when settings were loaded


class ProviderSettings(Section):
    """One provider: an account with a wire format."""

    adapter: Literal["openai", "openai-responses", "anthropic", "bedrock", "gemini", "perplexity", "sonar"] = Field(
        "openai",
        description="Wire format that the provider speaks; providers named anthropic, google and perplexity speak their own "
        "unless told otherwise.",
    )
    base_url: str | None = Field(None, description="Address of its API, https except on loopback; null is the adapter's own.")
    api_key: SecretStr | None = Field(
        None, description="Its key, written here; the settings file must then be readable by its owner only."
    )
    api_key_file: Path | None = Field(
        None,
        description="File that holds its key, mode 0600; a relative path lies in $CREDENTIALS_DIRECTORY or beside this file.",
    )
    api_key_env: str | None = Field(None, description="Environment variable that holds its key.")
    keys: Annotated[tuple[KeySource, ...], Field(max_length=64), GUARDED] = Field(
        (),
        description="Several keys that share the load, instead of the three above; each one of {env: VARIABLE}, {file: PATH}, "
        "{credential: NAME}, {command: [PROGRAM, ARGUMENT]} or {value: KEY}.",
    )
    timeout_s: Seconds = Field(600.0, description="Longest time one call may take.")
    requests_per_minute: Annotated[Count, Field(ge=1, le=1_000_000_000)] | None = Field(
        None, description="Calls that it is sent in a minute, all its models together; null is what its own answers say."
    )
    tokens_per_minute: Annotated[Count, Field(ge=1, le=1_000_000_000_000)] | None = Field(
        None, description="Tokens in and out that it is sent in a minute, likewise."
    )
    price_provider: str | None = Field(None, description="Provider whose published prices apply; null is its own name.")
    max_tokens_field: Literal["auto", "max_tokens", "max_completion_tokens"] = Field(
        "auto", description="What its API calls the bound of an answer; auto goes by the address."
    )
    prompt_cache_fields: Literal["auto", "send", "omit"] = Field(
        "auto",
        description="Whether its API knows OpenAI's prompt_cache_key and prompt_cache_retention, which other servers may refuse; "
        "auto goes by the address.",
    )
    batch_api: Literal["auto", "use", "none"] = Field(
        "auto",
        description="Whether its API has OpenAI's, Anthropic's or Google's batch jobs, which lane DEFERRED needs; auto goes by the "
        "address.",
    )
    service_tiers: Literal["auto", "send", "omit"] = Field(
        "auto",
        description="Whether its API sells the same model at several prices by OpenAI's or Google's service tiers, which lane FLEX "
        "needs; auto goes by the address.",
    )

    @property
    def numbered_keys(self) -> tuple[tuple[int, SecretStr], ...]:
        """The keys that were found, each with its position among those configured, from 1."""
        if self.api_key is not None:
            return ((1, self.api_key),)
        return tuple((number, source.value) for number, source in enumerate(self.keys, 1) if source.value is not None)


class ModelSettings(Section):
    """One model of the catalog, added to the bundled ones or in place of the one with the same provider and id."""

    id: str = Field(description="Identifier that the provider uses.", min_length=1, max_length=256, examples=["gpt-4o"])
    provider: str = Field(description="Name of the provider that runs it.", examples=["openai"])
    aliases: tuple[str, ...] = Field((), description="Other names by which requests may ask for it.")
    tier: Literal["mini", "standard", "advanced", "premium"] | None = Field(None, description="Power and price class.")
    capabilities: tuple[str, ...] = Field((), description="What it can do.")
    context_tokens: Annotated[Count, Field(ge=0, le=1_000_000_000)] = Field(0, description="Size of its context; 0 is unknown.")
    max_output_tokens: Annotated[Count, Field(ge=0, le=1_000_000_000)] = Field(0, description="Longest answer; 0 is unknown.")
    default_max_output_tokens: Annotated[Count, Field(ge=1, le=1_000_000_000)] = Field(
        8_192, description="Longest answer that is asked for and reserved where the request does not say."
    )
    min_cacheable_tokens: Annotated[Count, Field(ge=0, le=1_000_000_000)] = Field(
        0,
        description="Shortest prefix that the provider's prompt cache keeps; 0 is unknown, and counts as 4,096 where prefixes are "
        "marked (Anthropic's format).",
    )
    description: str = Field("", description="A sentence for people.")


class PromptCachingSettings(Section):
    """What is asked of the providers' prompt caches, which `features.prompt_caching` switches off."""

    decision: Literal["never", "always", "second_sight", "adaptive"] = Field(
        "adaptive",
        description="Which prefixes are marked: none, all that are long enough, those sent before, or those expected to be worth "
        "their price. A request's own marks win over it.",
    )
    ttl_s: KeptFor = Field(
        300,
        description="How long the provider shall keep a marked prefix, where request and service do not say; adaptive then chooses "
        "by itself.",
    )
    gate_wait_s: Annotated[Wait, Field(le=60)] = Field(
        5.0,
        description="Longest wait of a call for another that is sending the same prefix, so that it can be read instead of being "
        "paid for again. Calls whose deadline is nearer do not wait; 0 holds up nobody.",
    )


class ServicePromptCachingSettings(Section):
    """What a service asks of the providers' prompt caches where its requests do not say it."""

    enabled: bool | None = Field(None, description="Whether its prefixes may be marked; null is yes.")
    decision: Literal["never", "always", "second_sight", "adaptive"] | None = Field(
        None, description="Which of its prefixes are marked; null is prompt_caching.decision."
    )
    ttl_s: KeptFor | None = Field(None, description="How long the provider shall keep them; null is prompt_caching.ttl_s.")


class ServiceSettings(Section):
    """What one service wants where a request does not say it."""

    on_ambiguous: Literal["next_route", "same_route", "stop"] = Field(
        "next_route", description="What follows a call whose outcome is unknown, and which stays charged at its upper bound."
    )
    normalization: Literal["exact", "whitespace", "fold"] | None = Field(
        None, description="Which differences in user text do not change the cache key; null is cache.normalization."
    )
    ttl_s: Seconds | None = Field(None, description="How long its answers stay fresh; null is cache.ttl_s.")
    allowed_tiers: tuple[Literal["mini", "standard", "advanced", "premium"], ...] = Field(
        (), description="Tiers whose models it may use; without tiers and models, any."
    )
    allowed_models: tuple[str, ...] = Field((), description="Models it may use besides: id, alias, provider/model or agent.")
    default_model: str | None = Field(
        None, description="Model for its requests that name neither model nor agent; null is the common default_model."
    )
    required_capabilities: tuple[str, ...] = Field(
        (), description="What every model it uses must be able to do; a model of which nothing is told passes."
    )
    strategy: Literal["primary", "cost_optimized", "performance", "fallback"] | None = Field(
        None, description="How routes are ordered where the request does not say."
    )
    prompt_caching: ServicePromptCachingSettings = ServicePromptCachingSettings()


class RetrySettings(Section):
    """How often and how patiently a route is tried again."""

    max_attempts: Annotated[Count, Field(ge=1, le=10)] = Field(3, description="Attempts of one route, the first one included.")
    base_delay_s: Seconds = Field(
        0.25, description="Longest wait before the second attempt, of which chance takes a part; it doubles from then on."
    )
    max_delay_s: Seconds = Field(8.0, description="Longest wait between two attempts.")
    retry_after_cap_s: Seconds = Field(60.0, description="Longest wait that a provider may ask for; a longer one ends the route.")
    budget_ratio: Ratio = Field(
        0.2, description="Retries that each call to a provider allows there, besides those of budget_per_second."
    )
    budget_per_second: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = Field(
        10.0, description="Retries that each second allows at each provider; with this and budget_ratio used up, none is made."
    )


class BreakerSettings(Section):
    """When a provider's key counts as broken and is passed by without a call, and when it is tried again."""

    consecutive_failures: Annotated[Count, Field(ge=1, le=1_000_000)] = Field(
        5, description="Failures in a row that are enough: not reached, 5xx, no answer in time, connection broken."
    )
    failure_ratio: Annotated[Ratio, Field(gt=0)] = Field(
        0.5, description="Share of failures among the latest calls that is enough as well."
    )
    min_calls: Annotated[Count, Field(ge=1, le=1_000)] = Field(20, description="Fewest calls for which failure_ratio counts.")
    window_s: Seconds = Field(60.0, description="How far back calls count for failure_ratio.")
    cool_down_s: Seconds = Field(15.0, description="Time until one call tries it again; it doubles each time that this call fails.")
    max_cool_down_s: Seconds = Field(300.0, description="Longest time between two such tries.")


class LedgerSettings(Section):
    """The usage ledger."""

    on_server_error: Literal["assume_free", "count"] = Field(
        "assume_free", description="Whether a provider's 5xx holds nothing or the call's upper bound."
    )
    reply_ttl_s: Seconds = Field(3_600.0, description="How long a reply is kept for replays of its request id.")
    reply_max_bytes: Bytes = Field(256_000_000, description="Size limit of all kept replies.")
    retention_months: Annotated[Count, Field(ge=1, le=1_200)] | None = Field(
        None,
        description="Whole months, besides the one that runs, for which charges stay in the ledger one by one; older ones are "
        "archived to files, and their sums stay. null keeps all.",
    )
    archive_directory: Path | None = Field(
        None, description="Directory of these files, for its owner only; null is archive in the state directory."
    )


class BudgetSettings(Section):
    """A limit on cost in a calendar window, for what the selector matches."""

    name: Name = Field(description="Name, unique among the budgets.", examples=["team"])
    selector: dict[str, str] = Field(
        default_factory=dict,
        description="Calls it counts, by service, session, agent, provider, model (id, alias or provider/model), phase, task or "
        "label:<key>; empty is all calls.",
    )
    each: str | None = Field(None, description="Selector key for each of whose values the limit holds by itself.")
    period: Literal["daily", "weekly", "monthly", "session"] = Field(description="Window of the limit.", examples=["daily"])
    limit_usd: Money = Field(description="Limit.", examples=["10"])
    action: Literal["warn", "refuse", "pause", "downgrade"] = Field(
        "refuse",
        description="What happens at the limit: nothing but alerts; refusal until the window ends; refusal until ResumeBudget; or "
        "calls go to downgrade_to from downgrade_at_percent on.",
    )
    require_known_prices: bool = Field(default=False, description="Refuse calls whose price is unknown.")
    downgrade_to: str | None = Field(
        None, description="Model of calls in a downgrade: id, alias, provider/model or agent; goes with action downgrade only."
    )
    downgrade_at_percent: Annotated[Count, Field(ge=1, le=100)] = Field(
        90, description="Share of the limit spent from which calls go to downgrade_to, in percent."
    )


class WebhookSettings(Section):
    """A channel that alerts are posted to; its address is a secret and has exactly one source."""

    kind: Literal["slack", "discord"] = Field(description="Whose incoming webhook it is.", examples=["slack"])
    url: SecretStr | None = Field(
        None, description="Its address, written here; the settings file must then be readable by its owner only."
    )
    url_file: Path | None = Field(
        None,
        description="File that holds the address, mode 0600; a relative path lies in $CREDENTIALS_DIRECTORY or beside this file.",
    )
    url_env: str | None = Field(None, description="Environment variable that holds the address.")


class AlertSettings(Section):
    """Who is told of budgets' alerts, besides the log, the response of the call, WatchAlerts and OpenTelemetry."""

    webhooks: dict[Name, WebhookSettings] = Field(default_factory=dict, description="Webhooks by name.")
    webhook_attempts: Annotated[Count, Field(ge=1, le=20)] = Field(5, description="Tries to post an alert before it is given up.")
    webhook_timeout_s: Annotated[Seconds, Field(le=120)] = Field(10.0, description="Longest time of one try.")


class PriceSettings(Section):
    """Where prices come from, before the bundled ones."""

    file: Path | None = Field(None, description="A prices.yaml whose entries win over the bundled prices.")
    warn_after_days: Annotated[Count, Field(ge=1, le=36_500)] = Field(30, description="Age from which prices are warned about.")
    url: str = Field(
        "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json",
        description="Where published prices are fetched from when somebody asks for it, https except on loopback.",
    )
    refresh_every_s: Annotated[Seconds, Field(ge=3_600)] | None = Field(
        None, description="How often published prices are fetched without being asked for, at least an hour; null is never."
    )


class CurrencySettings(Section):
    """The currency that people read amounts in, beside dollars; the ledger and all programs count in dollars."""

    code: Annotated[str, spelled(r"[A-Z]{3}", "three capital letters, such as EUR")] = Field(
        "USD", description="ISO 4217 code of the currency; USD shows dollars alone."
    )
    rates: dict[str, str] = Field(
        default_factory=dict, description="Units for one dollar by the day from which they hold, such as '2026-11-01': '1390.5'."
    )


class TelemetrySettings(Section):
    """OpenTelemetry; endpoints and headers come from the standard `OTEL_*` variables."""

    traces: bool = Field(default=False, description="Export traces.")
    metrics: bool = Field(default=False, description="Export metrics.")
    sample_ratio: Ratio = Field(0.0, description="Share of calls that are traced although their caller does not.")


class LogSettings(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least important line that is written.")
    format: Literal["auto", "json", "text"] = Field(
        "auto", description="Form of a line; auto is text on a terminal and JSON elsewhere."
    )


class DrainSettings(Section):
    """How long a stop waits."""

    admin_timeout_s: Wait = Field(2.0, description="For calls that ask no provider.")
    provider_timeout_s: Wait = Field(30.0, description="For provider calls under way; what then remains is booked as UNKNOWN.")


class Settings(Section):
    """The settings in force; made by `load_settings`, or directly out of keyword arguments."""

    socket: Path | None = Field(None, description="Socket to serve; null is $XDG_RUNTIME_DIR/aigen/aigend.sock.")
    state_directory: Path | None = Field(None, description="Directory of the ledger; null is $XDG_STATE_HOME/aigen.")
    cache_directory: Path | None = Field(None, description="Directory of the response cache; null is $XDG_CACHE_HOME/aigen.")
    time_zone: str = Field("UTC", description="IANA time zone in which budget windows and days begin.")
    week_start: Literal["monday", "sunday", "saturday"] = Field("monday", description="First day of a week.")
    default_model: str | None = Field(None, description="Model for requests that name neither model nor agent.")
    agents: dict[str, str] = Field(default_factory=dict, description="What each agent stands for, as provider/model.")
    features: FeatureSettings = FeatureSettings()
    cache: CacheSettings = CacheSettings()
    limits: LimitSettings = LimitSettings()
    providers: dict[Name, ProviderSettings] = Field(default_factory=dict, description="Providers by name.")
    models: tuple[ModelSettings, ...] = Field((), description="Models, added to the bundled catalog.")
    services: dict[Name, ServiceSettings] = Field(default_factory=dict, description="Services by name.")
    prompt_caching: PromptCachingSettings = PromptCachingSettings()
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    ledger: LedgerSettings = LedgerSettings()
    deferred: DeferredSettings = DeferredSettings()
    inbox: InboxSettings = InboxSettings()
    budgets: tuple[BudgetSettings, ...] = Field((), description="Budgets.")
    alerts: AlertSettings = AlertSettings()
    prices: PriceSettings = PriceSettings()
    currency: CurrencySettings = CurrencySettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()
    drain: DrainSettings = DrainSettings()

    @field_validator("providers")
    @classmethod
    def _usual_adapters(cls, providers: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        """Let a provider that does not say what it speaks go by its name."""
        return {name: with_usual_adapter(name, provider) for name, provider in providers.items()}


def with_usual_adapter(name: str, provider: ProviderSettings) -> ProviderSettings:
    """Return the provider with the adapter that its name stands for, where its own settings name none."""
    usual = USUAL_ADAPTERS.get(name)
    if usual is None or "adapter" in provider.model_fields_set:
        return provider
    return provider.model_copy(update={"adapter": usual})


SettingsSections = Settings
