"""Fetches the published prices anew, on request or every so often; never unless somebody asked for it.

What was booked keeps the price entry that it was priced with: its name holds the version of the data it came from.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from aigend.clock import Clock
from aigend.config import PriceSettings
from aigend.errors import DomainError, Reason
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.ledger.prices.published import PublishedPrices

LOOK_S = 60.0  # how often a switched-off schedule looks whether it was switched on

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """Versions of the published prices."""

    before: str
    now: str


class PriceRefresher:
    """Fetches published prices; one fetch goes after the other.

    Args:
        published: Where they are kept.
        prices: Returns the catalog in force, which remembers what it found.
        settings: Returns the settings in force.
        clock: Waits between two fetches.
    """

    def __init__(
        self,
        published: PublishedPrices,
        *,
        prices: Callable[[], PriceCatalog],
        settings: Callable[[], PriceSettings],
        clock: Clock,
    ) -> None:
        self._published = published
        self._prices = prices
        self._settings = settings
        self._clock = clock
        self._fetching = asyncio.Lock()

    async def refresh(self) -> Refreshed:
        """Fetch the prices and put them in force; those in force stay where that fails.

        Raises:
            DomainError: PROVIDER_UNAVAILABLE where they can't be fetched or read.
        """
        async with self._fetching:
            await self._prices().load()
            before = self._published.version
            url = self._settings().url
            try:
                await asyncio.to_thread(self._published.fetch, url)
            except Exception as error:  # whatever a foreign address or text may bring; nothing was changed
                text = f"the published prices can't be fetched from {url}: {type(error).__name__}"
                raise DomainError(Reason.PROVIDER_UNAVAILABLE, text, url=url) from error
            self._prices().forget()
        _log.info("prices_refreshed", before=before, now=self._published.version)
        return Refreshed(before=before, now=self._published.version)

    async def keep_fresh(self) -> None:
        """Fetch as often as the settings in force say, at once at first; without end, and not at all where they say so."""
        while True:
            every_s = self._settings().refresh_every_s
            if every_s is not None:
                try:
                    await self.refresh()
                except DomainError as error:
                    _log.warning("prices_not_refreshed", text=error.text)
            await self._clock.sleep(every_s if every_s is not None else LOOK_S)
