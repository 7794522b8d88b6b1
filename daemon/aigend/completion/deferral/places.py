"""Where a deferred call may wait: the first of its routes whose provider has a batch API that can carry the whole request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aigend.clock import Clock
from aigend.completion.call import Call
from aigend.completion.prompt_cache.plans import NOTHING_ASKED
from aigend.completion.quotes import Quote, quote
from aigend.completion.snapshot import Snapshot
from aigend.errors import DomainError, capability_missing
from aigend.ledger.batch_rows import UploadRow
from aigend.providers.batch_port import BatchProvider
from aigend.providers.registry import Account
from aigend.routing.health import Health, KeyId
from aigend.types import ModelRoute


class Accounts(Protocol):
    """Hands out the accounts of providers."""

    async def ready(self, name: str) -> Sequence[Account]:
        """Return a provider's accounts, at least one."""
        ...


def check_on(snapshot: Snapshot) -> None:
    """Return if calls may be deferred.

    Raises:
        DomainError: CAPABILITY_MISSING; the lane is turned off.
    """
    if not snapshot.settings.features.deferred:
        raise capability_missing("lane", "DEFERRED", "features.deferred is off; allowed: INTERACTIVE, FLEX")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlace:
    """A route with the account whose batch API takes the call, and what the call may cost there."""

    quoted: Quote
    account: int  # number of the key
    batch: BatchProvider
    start_by: float | None  # wall clock; latest start that keeps `complete_by`
    too_near: bool  # the batch API can't promise an answer by then


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBatch:
    """The batch API of an upload; not the same one where its key or address has been changed, and then it may not see the job."""

    batch: BatchProvider
    same: bool


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
            DomainError: The lane is turned off, or none of its routes has one; what the first of them lacks.
        """
        check_on(call.snapshot)
        refusal: DomainError | None = None
        for route in call.routes:
            try:
                return await self._at(call, route)
            except DomainError as error:
                refusal = refusal or error
        raise refusal or AssertionError("a call has at least one route")

    async def account_of(self, provider: str, number: int) -> Account:
        """Return an account with a batch API; where its key is gone, another of the same provider.

        Raises:
            DomainError: PROVIDER_NOT_CONFIGURED; CAPABILITY_MISSING where no key has one any more.
        """
        accounts = await self._with_batches(provider)
        return next((one for one in accounts if one.number == number), accounts[0])

    async def held(self, upload: UploadRow) -> HeldBatch:
        """Return the batch API that an upload was made with; where its key or address is gone, another of the same provider.

        Raises:
            DomainError: As `account_of`.
        """
        _, token, made_with = (*upload.mark.split("-"), "", "")[:3]
        if not made_with:  # a mark from before they said it
            return HeldBatch(batch=batch_of(await self.account_of(upload.provider, upload.account)), same=True)
        accounts = await self._with_batches(upload.provider)
        same = next((one for one in accounts if one.fingerprint(token) == made_with), None)
        return HeldBatch(batch=batch_of(same or accounts[0]), same=same is not None)

    async def _with_batches(self, provider: str) -> list[Account]:
        accounts = [one for one in await self._providers.ready(provider) if one.batch is not None]
        if not accounts:
            raise _no_batches(provider)
        return accounts

    async def _at(self, call: Call, route: ModelRoute) -> BatchPlace:
        name = route.route.provider
        accounts = await self._with_batches(name)
        well = [one for one in accounts if self._health.usable([KeyId(name, one.number)])]
        account = (well or accounts)[0]
        batch = batch_of(account)
        batch.check(call.request)
        await call.snapshot.prices.load()
        quoted = quote(call, route, clock=self._clock, prompt=NOTHING_ASKED)
        by = call.request.complete_by
        start_by = None if by is None else by - batch.limits.window_s
        near = start_by is not None and start_by < self._clock.time()
        return BatchPlace(quoted=quoted, account=account.number, batch=batch, start_by=start_by, too_near=near)


def batch_of(account: Account) -> BatchProvider:
    """Return the batch API of an account that has one."""
    if account.batch is None:
        raise AssertionError("only accounts with a batch API are looked at")
    return account.batch


def _no_batches(provider: str) -> DomainError:
    why = (
        f"provider {provider} has no batch API that aigend knows of (set providers.{provider}.batch_api to use if it has one); "
        "allowed: INTERACTIVE"
    )
    return capability_missing("lane", "DEFERRED", why)
