"""`aigend config check`: whether settings can be used, and what of them is most likely not meant so.

It builds what settings alone decide, and opens no file of a daemon and no socket.
"""

from collections.abc import Mapping

from aigend.assembly import make_snapshot
from aigend.clock import Clock, utc_day
from aigend.completion.snapshot import Snapshot
from aigend.config import WELL_KNOWN, LoadedSettings, Problem
from aigend.ledger.prices.catalog import PriceCatalog, read_prices
from aigend.ledger.prices.doubts import Known, doubts
from aigend.ledger.prices.published import PublishedPrices
from aigend.types import Route


def check(loaded: LoadedSettings, environ: Mapping[str, str], *, clock: Clock) -> tuple[Problem, ...]:
    """Return what can be used and is most likely not meant so.

    Raises:
        SettingsError: A model, an agent or the price file can't be used; it says where that stands.
    """
    at, published = clock.time(), PublishedPrices()
    snapshot = make_snapshot(loaded, environ=environ, published=published, today=utc_day(at))
    path = loaded.settings.prices.file
    if path is None:
        return loaded.warnings
    without = PriceCatalog(published=published)
    known = Known(
        models=_priced_models(snapshot),
        agents=snapshot.catalog.agents,
        priced_without=lambda provider, model: without.lookup(provider, model, at),
    )
    return (*loaded.warnings, *doubts(read_prices(path), known, path=path))


def _priced_models(snapshot: Snapshot) -> dict[str, set[str]]:
    """The models that are known, by the provider whose prices apply."""
    models: dict[str, set[str]] = {name: set() for name in (*WELL_KNOWN, *snapshot.providers, *snapshot.price_providers.values())}
    for model in snapshot.catalog.list():
        models.setdefault(snapshot.priced_as(Route(model.provider, model.id)), set()).add(model.id)
    return models
