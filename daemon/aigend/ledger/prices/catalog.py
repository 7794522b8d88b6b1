"""Which price applies to a model at a time: the user's file, then published prices, then the table of the first users.

A value that is swapped whole; it never goes to the network. Reading files is `price_file`, published prices are `published_prices`,
arithmetic is `pricing`.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import resources
from pathlib import Path

from aigend.config import Problem
from aigend.ledger.prices.file import PriceFileError, PriceTable, parse_prices
from aigend.ledger.prices.pricing import PriceEntry
from aigend.ledger.prices.published import DatedPrice, PublishedPrices

_MOST_REMEMBERED = 4_096  # models; callers may invent names
_Sources = tuple[tuple[DatedPrice, ...], ...]


class PriceCatalog:
    """Finds prices; a repeated look-up is one dictionary access.

    Args:
        user: The user's own prices, which win.
        first_users: The bundled table, which comes last.
        published: Published prices; share one between catalogs, it is dear to load.
        agent_models: Provider (whose prices apply) and model that each agent maps to; rates by agent apply to exactly these, and
            where agents share a model the dearest rate does.
        warn_after_days: Age from which a price is called stale.
    """

    def __init__(
        self,
        *,
        user: PriceTable | None = None,
        first_users: PriceTable | None = None,
        published: PublishedPrices | None = None,
        agent_models: Mapping[str, tuple[str, str]] | None = None,
        warn_after_days: int = 30,
    ) -> None:
        self._user = user or PriceTable()
        self._first_users = first_users or bundled_prices()
        self._published = published or PublishedPrices()
        self._agents = agent_models or {}
        self._warn_after_days = warn_after_days
        self._remembered: dict[tuple[str, str], _Sources] = {}

    @property
    def loaded(self) -> bool:
        """Whether no look-up has to read anything any more."""
        return self._published.loaded

    async def load(self) -> None:
        """Read the published prices in a thread; afterwards `lookup` never blocks. Cheap when done already."""
        if not self._published.loaded:
            await asyncio.to_thread(self._published.load)

    def lookup(self, provider: str, model: str, at: float) -> PriceEntry | None:
        """Return the price in force, or None where nobody names one.

        Args:
            provider: Whose published prices apply.
            model: The provider's name of the model.
            at: Wall clock, seconds since 1970.
        """
        key = (provider, model)
        sources = self._remembered.get(key)
        if sources is None:
            sources = self._remember(key, at)
        for source in sources:
            for dated in reversed(source):
                if dated.holds(at):
                    return dated.entry
        return None

    def listed(self, provider: str, model: str, at: float) -> list[PriceEntry]:
        """Return every price known of a model, the winning source first and its latest price first."""
        key = (provider, model)
        sources = self._remembered.get(key) or self._remember(key, at)
        return [dated.entry for source in sources for dated in reversed(source)]

    def forget(self) -> None:
        """Find prices anew from now on: the published ones were replaced."""
        self._remembered.clear()

    def stale(self, entry: PriceEntry | None, at: float) -> tuple[str, ...]:
        """Return a warning where a price was checked too long ago, else nothing.

        Args:
            entry: The price that was applied.
            at: Wall clock, seconds since 1970.
        """
        if entry is None or entry.checked_on is None:
            return ()
        age_days = (datetime.fromtimestamp(at, UTC).date() - entry.checked_on).days
        if age_days <= self._warn_after_days:
            return ()
        return (
            f"price of {entry.provider}/{entry.model} is stale: {entry.source}, checked on {entry.checked_on}, {age_days} days ago",
        )

    def _remember(self, key: tuple[str, str], at: float) -> _Sources:
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        found = (self._table(self._user, key), self._published.find(*key, at), self._table(self._first_users, key))
        sources = tuple(source for source in found if source)
        self._remembered[key] = sources
        return sources

    def _table(self, table: PriceTable, key: tuple[str, str]) -> tuple[DatedPrice, ...]:
        by_agent = (table.agents[agent] for agent, route in self._agents.items() if route == key and agent in table.agents)
        entries = table.models.get(key) or max(by_agent, key=_dearness, default=())
        return tuple(DatedPrice(entry) for entry in entries)


def _dearness(entries: tuple[PriceEntry, ...]) -> Decimal:
    return max(entry.output or Decimal(0) for entry in entries)


def bundled_prices() -> PriceTable:
    """Return the table of the first users that comes with aigend."""
    text = resources.files("aigend").joinpath("data/prices.yaml").read_text(encoding="utf-8")
    return parse_prices(text, name="first-users")


def read_prices(path: Path, *, today: date | None = None) -> PriceTable:
    """Return the user's own prices.

    Args:
        path: The file.
        today: The day that it is, in UTC; None: nothing is held against it.

    Raises:
        PriceFileError: The file can't be read or used; the text says why and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        problem = Problem(text=f"prices.file can't be read: {reason}", key="prices.file", value=str(path), file=path)
        raise PriceFileError([problem]) from error
    return parse_prices(text, name=path.name, today=today)
