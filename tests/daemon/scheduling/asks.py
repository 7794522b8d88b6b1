"""Asks and settings with what a test of the dispatcher leaves open filled in."""

import asyncio

from aigend.config import LimitSettings, ProviderSettings
from aigend.scheduling.dispatch.ask import Ask
from aigend.scheduling.dispatch.dispatcher import Dispatcher
from aigend.scheduling.dispatch.grant import Grant

from tests.fakes import FakeClock


def limits(**given) -> LimitSettings:
    """Return limits: one slot at each of two providers, a queue of five."""
    return LimitSettings(**({"total": 2, "per_provider": 1, "queue": 5} | given))


def dispatcher(
    clock: FakeClock | None = None, *, rates: dict[str, dict[str, int]] | None = None, adaptive: bool = False, **given
) -> Dispatcher:
    """Return a dispatcher; `rates` are providers' settings by name."""
    providers = {name: ProviderSettings(**own) for name, own in (rates or {}).items()}
    return Dispatcher(limits(**given), clock=clock or FakeClock(), providers=providers, adaptive=adaptive)


def ask(provider: str = "a", **given) -> Ask:
    """Return an ask."""
    return Ask(provider=provider, **given)


def start(of: Dispatcher, provider: str = "a", **given) -> "asyncio.Task[Grant]":
    """Begin to ask."""
    return asyncio.create_task(of.acquire(ask(provider, **given)))


async def taken(of: Dispatcher, provider: str = "a", **given) -> Grant:
    """Take a slot."""
    return await of.acquire(ask(provider, **given))


async def sent(of: Dispatcher, provider: str = "a", **given) -> None:
    """Make a call from end to end."""
    with await of.acquire(ask(provider, **given)) as grant:
        grant.sent = True


async def at_once(of: Dispatcher, provider: str = "a", **given) -> Grant:
    """Take a slot without any wait; fail where the call would have waited."""
    waiting = of.acquire(ask(provider, **given))
    try:
        waiting.send(None)
    except StopIteration as ended:
        return ended.value
    waiting.close()
    raise AssertionError("the call had to wait")
