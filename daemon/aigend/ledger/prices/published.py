"""The published prices that the genai-prices package carries, as our own price entries.

The package is imported at first use only: its table of every provider costs a third of a second and 20 MB. Only what finds a model
and prices it is kept afterwards. Nothing here goes to the network but `fetch`.
"""

import hashlib
import sys
import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from aigend.ledger.prices.pricing import PriceEntry, Tier

_KEYS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}
_WRITE_5M_KEYS = ("cache_write_5m_mtok", "cache_write_mtok")  # a write without a stated time counts as 5 minutes
_THOUSAND = Decimal(1_000)
_CHEAPER = {"batch": {"processing": "batch"}, "flex": {"service_tier": "flex"}}  # our name -> the package's


@dataclass(frozen=True, slots=True)
class DatedPrice:
    """A price entry with when it holds: since `entry.valid_from`, and within the day where `daily` says so."""

    entry: PriceEntry
    daily: Callable[[datetime], bool] | None = None

    def holds(self, at: float) -> bool:
        """Tell whether the price is in force at that wall-clock time."""
        if self.entry.valid_from is not None and at < self.entry.valid_from:
            return False
        return self.daily is None or self.daily(datetime.fromtimestamp(at, UTC))


class PublishedPrices:
    """Finds published prices by provider and model; loads them once, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._providers: list[Any] | None = None
        self._find_provider: Callable[[list[Any], str], Any] = lambda _providers, _name: None
        self._version = ""
        self._starts: list[date] = []

    @property
    def loaded(self) -> bool:
        """Whether the next `find` is only a search in memory."""
        return self._providers is not None

    def load(self) -> None:
        """Read the package's data. It takes a third of a second once: call it off the event loop."""
        with self._lock:
            if self._providers is None:
                self._import()

    @property
    def version(self) -> str:
        """Version of the data; empty before it is loaded."""
        return self._version

    def fetch(self, url: str) -> None:
        """Replace the data by what lies at an address, with the package's own updater; off the event loop.

        Raises:
            Exception: It can't be reached or read; the data stays as it was.
        """
        self.load()
        from genai_prices.data_snapshot import find_provider_by_id  # noqa: PLC0415 - loaded by now
        from genai_prices.update_prices import UpdatePrices  # noqa: PLC0415 - brings an HTTP client that few need

        found = UpdatePrices(url=url).fetch()
        if found is None or not found.providers:
            raise ValueError("no prices in it")
        digest = hashlib.sha256(repr(found.providers).encode()).hexdigest()[:8]
        with self._lock:
            self._keep(found.providers, version=f"{version('genai-prices')}+{digest}")
            self._find_provider = find_provider_by_id

    def find(self, provider: str, model: str, at: float) -> tuple[DatedPrice, ...]:
        """Return a model's prices, the latest last; empty where none are published.

        Args:
            provider: Whose prices.
            model: The provider's name of the model.
            at: Wall clock, seconds since 1970; the data counts as checked on its youngest price change before that.
        """
        self.load()
        assert self._providers is not None  # noqa: S101 - load() has just set it; this tells the type checker
        found = self._find_provider(self._providers, provider)
        info = found.find_model(model, all_providers=self._providers) if found is not None else None
        if info is None:
            return ()
        prices = info.prices if isinstance(info.prices, list) else [None]
        about = {
            "provider": provider,
            "model": model,
            "source": f"genai-prices {self._version}",
            "checked_on": self._newest_start(datetime.fromtimestamp(at, UTC).date()),
        }
        dated = (self._dated(info, item, since, about) for item in prices for since in _turns(info, item))
        return tuple(price for price in dated if price is not None)

    def _newest_start(self, today: date) -> date | None:
        """The youngest price change that the data knows of: they were looked at on that day at least."""
        place = bisect_right(self._starts, today)
        return self._starts[place - 1] if place else None

    def _import(self) -> None:
        from genai_prices.data import providers  # noqa: PLC0415 - 20 MB that a daemon without a paid call never needs
        from genai_prices.data_snapshot import find_provider_by_id  # noqa: PLC0415 - comes with the line above

        self._find_provider = find_provider_by_id
        self._keep(providers, version=version("genai-prices"))
        sys.modules.pop("genai_prices.data", None)  # the texts in it are most of the memory, and nobody reads them here

    def _keep(self, providers: list[Any], *, version: str) -> None:
        """Take over data without its texts; the list comes last, because readers hold no lock."""
        self._version = version
        self._starts = _starts(providers)
        for provider in providers:
            provider.extractors = provider.description = provider.price_comments = None
            for info in provider.models:
                info.description = info.price_comments = None
        self._providers = providers

    def _dated(self, info: Any, item: Any, start: date | None, about: dict[str, Any]) -> DatedPrice | None:
        rates = (info.prices if item is None else item.prices).__dict__
        if not any(rates.get(key) is not None for key in (*_KEYS.values(), *_WRITE_5M_KEYS)):
            return None  # free of charge or priced by something else than tokens: unknown, not 0
        about = {**about, "valid_from": datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp() if start else None}
        entry_id = f"genai-prices@{self._version}:{about['provider']}/{info.id}" + (f"@{start}" if start else "")
        cheaper: dict[str, Any] = {
            name: PriceEntry(id=f"{entry_id}#{name}", **about, **_amounts(replaced))
            for name, when in _CHEAPER.items()
            if (replaced := _rates_when(info, rates, when, start))
        }
        entry = PriceEntry(id=entry_id, **cheaper, **about, **_amounts(rates))
        constraint = getattr(item, "constraint", None)
        return DatedPrice(entry, constraint.active if constraint is not None and _start_of(item) is None else None)


def _start_of(item: Any) -> date | None:
    start: date | None = getattr(getattr(item, "constraint", None), "start_date", None)
    return start


def _turns(info: Any, item: Any) -> list[date | None]:
    """Days from which a price holds with all its cheaper ones: its own first day, and each later one on which those change."""
    first = _start_of(item)
    changes = {start for variant in info.price_variants or () if (start := _start_of(variant)) is not None}
    return [first, *sorted(start for start in changes if first is None or start > first)]


def _starts(providers: list[Any]) -> list[date]:
    """Days on which a price changes, in order; announced ones are among them."""
    models = (info for provider in providers for info in provider.models if isinstance(info.prices, list))
    return sorted({start for info in models for item in info.prices if (start := _start_of(item)) is not None})


def _rates_when(info: Any, rates: dict[str, Any], when: dict[str, str], day: date | None) -> dict[str, Any]:
    """Rates of the provider's batch API or flex tier on a day: the standard ones with what those variants replace; else empty.

    Of several variants the first that holds wins, rate by rate, as the package has it.
    """
    replaced: dict[str, Any] = {}
    for variant in info.price_variants or ():
        start = _start_of(variant)
        if variant.when == when and (start is None or (day is not None and start <= day)):
            replaced = {name: rate for name, rate in variant.prices.__dict__.items() if rate is not None} | replaced
    return {**rates, **replaced} if replaced else {}


def _amounts(rates: dict[str, Any]) -> dict[str, Any]:
    """Spell the package's rates as fields of a price entry."""
    fees = {"request_fee": rates.get("requests_kcount"), "search_fee": rates.get("web_searches_kcount")}
    starts = sorted({tier.start for price in rates.values() for tier in getattr(price, "tiers", ())})
    return {
        **_rates_at(rates, 0),
        "tiers": tuple(Tier(above=start, **_rates_at(rates, start + 1)) for start in starts),
        **{name: _base(fee) / _THOUSAND for name, fee in fees.items() if fee is not None},
    }


def _rates_at(rates: dict[str, Any], total_input: int) -> dict[str, Decimal]:
    write_5m = next((rates[key] for key in _WRITE_5M_KEYS if rates.get(key) is not None), None)
    found = {name: rates.get(key) for name, key in _KEYS.items()} | {"cache_write_5m": write_5m}
    return {name: _at(price, total_input) for name, price in found.items() if price is not None}


def _at(price: Any, total_input: int) -> Decimal:
    rate = _base(price)
    for tier in getattr(price, "tiers", ()):
        if total_input > tier.start:
            rate = tier.price
    return rate


def _base(price: Any) -> Decimal:
    base: Decimal = getattr(price, "base", price)
    return base
