"""ModelService, its half about prices: every one that is known, and the published ones fetched anew."""

from collections.abc import Awaitable, Callable
from decimal import Decimal

from aigen.v1 import model_pb2 as pb

from aigend.clock import Clock
from aigend.completion.snapshot import Snapshot
from aigend.ledger.prices.pricing import PriceEntry, Rates
from aigend.ledger.prices.refresh import Refreshed
from aigend.rpc.model import pack_price, pack_rates
from aigend.rpc.paging import page
from aigend.rpc.times import timestamp

_NANOS_A_DOLLAR = Decimal(1_000_000_000)


class PriceServicer:
    """Lists and refreshes prices.

    Args:
        snapshot: Returns what is in force.
        refresh: Fetches the published prices and puts them in force.
        clock: Says which prices hold now.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], *, refresh: Callable[[], Awaitable[Refreshed]], clock: Clock) -> None:
        self._snapshot = snapshot
        self._refresh = refresh
        self._clock = clock

    async def list_prices(self, request: pb.ListPricesRequest) -> pb.ListPricesResponse:
        """List every price known of the catalog's models."""
        snapshot = self._snapshot()
        await snapshot.prices.load()
        models = [m for m in snapshot.catalog.list(provider=request.provider) if request.model in ("", m.id)]
        listed = [price for model in models for price in self._prices_of(snapshot, model.provider, model.id)]
        shown, token = page(listed, page_size=request.page_size, page_token=request.page_token)
        return pb.ListPricesResponse(prices=shown, next_page_token=token)

    async def refresh_prices(self, _: pb.RefreshPricesRequest) -> pb.RefreshPricesResponse:
        """Fetch the published prices anew."""
        await self._snapshot().prices.load()
        before = self._in_force()
        refreshed = await self._refresh()
        after = self._in_force()
        changed = [price for key, price in after.items() if key not in before or _amounts(before[key]) != _amounts(price)]
        return pb.RefreshPricesResponse(previous_version=refreshed.before, version=refreshed.now, changed_prices=changed)

    def _in_force(self) -> dict[tuple[str, str], pb.ListedPrice]:
        snapshot = self._snapshot()
        found = {}
        for model in snapshot.catalog.list():
            for price in self._prices_of(snapshot, model.provider, model.id):
                if price.in_force:
                    found[model.provider, model.id] = price
        return found

    def _prices_of(self, snapshot: Snapshot, provider: str, model: str) -> list[pb.ListedPrice]:
        now, priced_as = self._clock.time(), snapshot.price_providers.get(provider, provider)
        holds = snapshot.prices.lookup(priced_as, model, now)
        entries = snapshot.prices.listed(priced_as, model, now)
        return [
            _pack_listed(entry, (provider, model), in_force=entry == holds, stale=bool(snapshot.prices.stale(entry, now)))
            for entry in entries
        ]


def _pack_listed(price: PriceEntry, key: tuple[str, str], *, in_force: bool, stale: bool) -> pb.ListedPrice:
    return pb.ListedPrice(
        provider=key[0],
        model=key[1],
        price=pack_price(price),
        tiers=[pb.PriceTier(above_tokens=tier.above, rates=_tier_rates(tier)) for tier in price.tiers],
        batch=None if price.batch is None else pack_price(price.batch),
        flex=None if price.flex is None else pack_price(price.flex),
        request_fee_usd_nanos=_fee(price.request_fee),
        search_fee_usd_nanos=_fee(price.search_fee),
        valid_from_time=None if price.valid_from is None else timestamp(price.valid_from),
        in_force=in_force,
        stale=stale,
    )


def _tier_rates(rates: Rates) -> pb.Price:
    return pb.Price(**pack_rates(rates))


def _fee(usd: Decimal | None) -> str:
    return "" if usd is None else f"{(usd * _NANOS_A_DOLLAR).normalize():f}"


def _amounts(price: pb.ListedPrice) -> bytes:
    """What of a price decides a cost, to be compared."""
    copy = pb.ListedPrice()
    copy.CopyFrom(price)
    for rates in (copy.price, copy.batch, copy.flex):
        rates.price_entry_id = rates.source = rates.checked_on = ""
    copy.ClearField("stale")
    return copy.SerializeToString(deterministic=True)
