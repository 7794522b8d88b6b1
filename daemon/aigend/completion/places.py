"""Where a deferred call may wait: the first of its routes whose provider has a batch API that can carry the whole request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aigend.clock import Clock
from aigend.completion.call import Call
from aigend.completion.prompt_plans import NOTHING_ASKED
from aigend.completion.quotes import Quote, quote
from aigend.errors import DomainError, capability_missing
from aigend.providers.batch_port import BatchProvider
from aigend.providers.registry import Account
from aigend.routing.health import Health, KeyId
from aigend.types import ModelRoute


class Accounts(Protocol):
    """Hands out the accounts of providers."""

    async def ready(self, name: str) -> Sequence[Account]:
        """Return a provider's accounts, at least one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlace:
    """A route with the account whose batch API takes the call, and what the call may cost there."""

    quoted: Quote
    account: int  # number of the key
    batch: BatchProvider
    start_by: float | None  # wall clock; latest start that keeps `complete_by`
    too_near: bool  # the batch API can't promise an answer by then


class BatchPlaces:
    """Finds batch APIs.

    Args:
        providers: Has the accounts.
        health: Knows which keys are refused.
        clock: Tells the time.
    """

    def __init__(self, *, providers: Accounts, health: Health, clock: Clock) -> None:
        self._providers = providers
        self._health = health
        self._clock = clock

    async def find(self, call: Call) -> BatchPlace:
        """Return the place of a call.

        Raises:
            DomainError: None of its routes has one; what the first of them lacks.
        """
        refusal: DomainError | None = None
        for route in call.routes:
            try:
                return await self._at(call, route)
            except DomainError as error:
                refusal = refusal or error
        raise refusal or AssertionError("a call has at least one route")

    async def batch_of(self, provider: str, account: int) -> BatchProvider:
        """Return the batch API of an account; where its key is gone, of another key of the same provider.

        Raises:
            DomainError: PROVIDER_NOT_CONFIGURED; CAPABILITY_MISSING where no key has one any more.
        """
        accounts = await self._providers.ready(provider)
        batches = {one.number: one.batch for one in accounts if one.batch is not None}
        if not batches:
            raise _no_batches(provider)
        return batches.get(account) or next(iter(batches.values()))

    async def _at(self, call: Call, route: ModelRoute) -> BatchPlace:
        name = route.route.provider
        accounts = [(one.number, one.batch) for one in await self._providers.ready(name) if one.batch is not None]
        if not accounts:
            raise _no_batches(name)
        well = [one for one in accounts if self._health.usable([KeyId(name, one[0])])]
        account, batch = (well or accounts)[0]
        batch.check(call.request)
        await call.snapshot.prices.load()
        quoted = quote(call, route, clock=self._clock, prompt=NOTHING_ASKED)
        by = call.request.complete_by
        start_by = None if by is None else by - batch.limits.window_s
        near = start_by is not None and start_by < self._clock.time()
        return BatchPlace(quoted=quoted, account=account, batch=batch, start_by=start_by, too_near=near)


def _no_batches(provider: str) -> DomainError:
    why = f"provider {provider} has no batch API that aigend speaks (providers.{provider}.batch_api); allowed: INTERACTIVE"
    return capability_missing("lane", "DEFERRED", why)
