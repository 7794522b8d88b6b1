"""What must hold between settings, beyond the bounds that stand at each field.

Each rule yields findings: the place, its value, and what is allowed there.
"""

import difflib
import ipaddress
import zoneinfo
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from aigend.config.sections import KeySource, Settings
from aigend.config.well_known import WELL_KNOWN
from aigend.types import Capability

SELECTOR_KEYS = ("service", "session", "agent", "provider", "model", "phase", "task")
LABEL_PREFIX = "label:"
KEY_SOURCES = ("api_key", "api_key_file", "api_key_env", "keys")
URL_SOURCES = ("url", "url_file", "url_env")
BUILT_IN_PROVIDERS = frozenset(WELL_KNOWN)  # need no section: their keys may come from their usual variables alone
HIDDEN = "***"
_MOST_UNITS = 1_000_000_000  # of any currency for one dollar


class Finding(NamedTuple):
    """One thing that does not hold."""

    path: tuple[str | int, ...]
    value: object
    allowed: str


def findings(settings: Settings) -> list[Finding]:
    """Return everything that does not hold between the settings."""
    return [finding for rule in _RULES for finding in rule(settings)]


def _paths(settings: Settings) -> Iterator[Finding]:
    places = (
        (("socket",), settings.socket),
        (("state_directory",), settings.state_directory),
        (("cache_directory",), settings.cache_directory),
        (("inbox", "directory"), settings.inbox.directory),
    )
    for path, value in places:
        if value is not None and not value.is_absolute():
            yield Finding(path, str(value), "an absolute path")
    if settings.prices.file is not None and not settings.prices.file.is_file():
        yield Finding(("prices", "file"), str(settings.prices.file), "a file that exists")


def _time_zone(settings: Settings) -> Iterator[Finding]:
    try:
        zoneinfo.ZoneInfo(settings.time_zone)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        yield Finding(("time_zone",), settings.time_zone, "an IANA time zone, such as Europe/Berlin")


def _agents(settings: Settings) -> Iterator[Finding]:
    known = BUILT_IN_PROVIDERS | settings.providers.keys()
    for agent, target in settings.agents.items():
        provider, _, model = target.partition("/")
        if not provider or not model:
            yield Finding(("agents", agent), target, "provider/model, such as openai/gpt-4o")
        elif provider not in known:
            yield Finding(("agents", agent), target, f"a provider that is configured: {_listed(known)}")


def _models(settings: Settings) -> Iterator[Finding]:
    known = BUILT_IN_PROVIDERS | settings.providers.keys()
    capabilities = [str(capability) for capability in Capability]
    for index, model in enumerate(settings.models):
        if model.provider not in known:
            yield Finding(("models", index, "provider"), model.provider, f"a provider that is configured: {_listed(known)}")
        for capability in set(model.capabilities).difference(capabilities):
            yield Finding(("models", index, "capabilities"), capability, _listed(capabilities))
    routes = [f"{model.provider}/{model.id}" for model in settings.models]
    yield from _repeated(routes, lambda index: ("models", index, "id"))
    aliases = [(index, alias) for index, model in enumerate(settings.models) for alias in model.aliases]
    yield from _repeated([alias for _, alias in aliases], lambda index: ("models", aliases[index][0], "aliases"))


def _services(settings: Settings) -> Iterator[Finding]:
    capabilities = [str(capability) for capability in Capability]
    for name, service in settings.services.items():
        for capability in set(service.required_capabilities).difference(capabilities):
            yield Finding(("services", name, "required_capabilities"), capability, _listed(capabilities))


def _providers(settings: Settings) -> Iterator[Finding]:
    for name, provider in settings.providers.items():
        sources = [source for source in KEY_SOURCES if getattr(provider, source) not in (None, ())]
        if len(sources) > 1:
            yield Finding(("providers", name, sources[1]), HIDDEN, f"one source of the key; {sources[0]} is set as well")
        for index, source in enumerate(provider.keys):
            if len(source.model_fields_set) != 1:
                yield Finding(("providers", name, "keys", index), HIDDEN, f"exactly one of {', '.join(KeySource.model_fields)}")
        if provider.base_url is not None:
            yield from _address(("providers", name, "base_url"), provider.base_url)


def _prices(settings: Settings) -> Iterator[Finding]:
    yield from _address(("prices", "url"), settings.prices.url)


def _currency(settings: Settings) -> Iterator[Finding]:
    code, rates = settings.currency.code, settings.currency.rates
    if code != "USD" and not rates:
        yield Finding(("currency", "rates"), "empty", f"at least one rate of {code}, as YYYY-MM-DD: units for one dollar")
    for day, rate in rates.items():
        try:
            known = date.fromisoformat(day).isoformat() == day and 0 < Decimal(rate) < _MOST_UNITS
        except (ValueError, InvalidOperation):
            known = False
        if not known:
            yield Finding(("currency", "rates", day), rate, "a day as YYYY-MM-DD with the units for one dollar, above 0")


def _address(path: tuple[str | int, ...], text: str) -> Iterator[Finding]:
    allowed = "an https address without credentials; plain http on loopback only"
    try:
        url = urlsplit(text)
        usable = url.port is None or url.port > 0
    except ValueError:
        yield Finding(path, HIDDEN, allowed)
        return
    if "@" in url.netloc or url.query or url.fragment:
        yield Finding(path, HIDDEN, allowed)
    elif not usable or not url.hostname or not _safe_scheme(url):
        yield Finding(path, text, allowed)


def _safe_scheme(url: SplitResult) -> bool:
    return url.scheme == "https" or (url.scheme == "http" and loopback(url.hostname or ""))


def loopback(host: str) -> bool:
    """Return whether a host is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _budgets(settings: Settings) -> Iterator[Finding]:
    yield from _repeated([budget.name for budget in settings.budgets], lambda index: ("budgets", index, "name"))
    for index, budget in enumerate(settings.budgets):
        for key, value in budget.selector.items():
            if not _selects(key):
                yield Finding(("budgets", index, "selector", key), value, f"the keys {selector_keys(key)}")
        if budget.each is not None and not _selects(budget.each):
            yield Finding(("budgets", index, "each"), budget.each, selector_keys(budget.each))
        if budget.downgrade_to is None and budget.action == "downgrade":
            yield Finding(("budgets", index, "downgrade_to"), None, "a model, which goes with action downgrade")
        if budget.downgrade_to is not None and budget.action != "downgrade":
            yield Finding(("budgets", index, "downgrade_to"), budget.downgrade_to, "no model without action downgrade")


def selector_keys(given: str) -> str:
    """Return by what a selector may choose, and what somebody may have meant who wrote something else.

    Example:
        >>> selector_keys("sesion")
        'agent, model, phase, provider, service, session, task or label:<key> (did you mean session?)'
    """
    near = difflib.get_close_matches(given, SELECTOR_KEYS, n=1)
    meant = near[0] if near else f"{LABEL_PREFIX}{given.removeprefix(LABEL_PREFIX) or 'team'}"
    return f"{_listed(SELECTOR_KEYS)} or {LABEL_PREFIX}<key> (did you mean {meant}?)"


def _webhooks(settings: Settings) -> Iterator[Finding]:
    for name, webhook in settings.alerts.webhooks.items():
        sources = [source for source in URL_SOURCES if getattr(webhook, source) is not None]
        if len(sources) != 1:
            yield Finding(("alerts", "webhooks", name), HIDDEN, f"exactly one of {', '.join(URL_SOURCES)}")


def _selects(key: str) -> bool:
    return key in SELECTOR_KEYS or (key.startswith(LABEL_PREFIX) and len(key) > len(LABEL_PREFIX))


def _retry(settings: Settings) -> Iterator[Finding]:
    if settings.retry.base_delay_s > settings.retry.max_delay_s:
        yield Finding(
            ("retry", "base_delay_s"), settings.retry.base_delay_s, f"at most retry.max_delay_s, {settings.retry.max_delay_s}"
        )


def _inbox(settings: Settings) -> Iterator[Finding]:
    first, longest = settings.inbox.retry_delay_s, settings.inbox.max_retry_delay_s
    if first > longest:
        yield Finding(("inbox", "retry_delay_s"), first, f"at most inbox.max_retry_delay_s, {longest}")


def _breaker(settings: Settings) -> Iterator[Finding]:
    first, longest = settings.breaker.cool_down_s, settings.breaker.max_cool_down_s
    if first > longest:
        yield Finding(("breaker", "cool_down_s"), first, f"at most breaker.max_cool_down_s, {longest}")


def _repeated(names: Sequence[str], place: Callable[[int], tuple[str | int, ...]]) -> Iterator[Finding]:
    counts = Counter(names)
    for index, name in enumerate(names):
        if counts[name] > 1 and names.index(name) != index:
            yield Finding(place(index), name, "each name once")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


_RULES: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _paths,
    _time_zone,
    _agents,
    _models,
    _services,
    _providers,
    _prices,
    _currency,
    _budgets,
    _webhooks,
    _retry,
    _inbox,
    _breaker,
)
