"""What may change while the daemon runs, as one immutable value that a call takes once."""

from collections.abc import Mapping
from dataclasses import dataclass

from aigend.config import ProviderSettings, SettingsSections
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.routing.catalog import Catalog
from aigend.routing.router import Router
from aigend.routing.selecting import Selectors
from aigend.types import Normalization, Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Settings, catalog and prices in force."""

    settings: SettingsSections
    catalog: Catalog
    router: Router
    prices: PriceCatalog
    providers: Mapping[str, ProviderSettings]  # all that can be asked, those of the environment included
    price_providers: Mapping[str, str]  # provider -> whose published prices apply to it

    @property
    def selectors(self) -> Selectors:
        """What reads the selectors of budgets with the names in force."""
        return Selectors(self.catalog, providers=(*self.providers, *self.settings.providers))

    def normalization(self, service: str) -> Normalization:
        """Return what a service's requests are normalized by where they do not say it."""
        own = self.settings.services.get(service)
        return Normalization((own and own.normalization) or self.settings.cache.normalization)

    def ttl_s(self, service: str) -> float:
        """Return how long a service's answers stay fresh where its requests do not say it, in seconds."""
        own = self.settings.services.get(service)
        return (own and own.ttl_s) or self.settings.cache.ttl_s

    def on_ambiguous(self, service: str) -> str:
        """Return what follows an attempt whose outcome is unknown: `next_route`, `same_route` or `stop`."""
        own = self.settings.services.get(service)
        return own.on_ambiguous if own else "next_route"

    def priced_as(self, route: Route) -> str:
        """Return the provider whose prices apply to a route."""
        return self.price_providers.get(route.provider, route.provider)
