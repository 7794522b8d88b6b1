"""The asyncio client's methods about budgets; short, like those of `aio.py`."""
# ruff: noqa: ASYNC109 - both clients take the same arguments; the timeout is the deadline that travels to the daemon

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal

from aigen import _budget_requests, _call
from aigen._aio_transport import AsyncTransport
from aigen.budgets import Alert, Budget, BudgetAction, BudgetPeriod, BudgetWindow


class AsyncBudgets(AsyncTransport):
    """Sets and shows budgets."""

    async def set_budget(
        self,
        name: str,
        /,
        *,
        period: BudgetPeriod | str,
        limit_usd: Decimal | str | int,
        action: BudgetAction | str = BudgetAction.REFUSE,
        selector: Mapping[str, str] | None = None,
        each: str = "",
        require_known_prices: bool = False,
        downgrade_to: str = "",
        downgrade_at_percent: int = 0,
        timeout: float | None = None,
    ) -> Budget:
        """Make a budget, or replace the one of that name, and return what was stored; it counts calls from now on.

        Args:
            name: 1 to 64 letters, digits, ".", "_" or "-"; not that of a budget of the daemon's settings.
            period: "daily", "weekly", "monthly" or "session".
            limit_usd: Limit in dollars, as Decimal, text or whole number.
            action: "warn", "refuse", "pause" or "downgrade".
            selector: Calls it counts, by service, session, agent, provider, model, phase, task or "label:<key>"; None: all. A
                model is named by id or alias, at whatever provider, or as "provider/model".
            each: Selector key for each of whose values the limit holds by itself.
            require_known_prices: Refuse calls whose price is unknown.
            downgrade_to: Model that calls are sent to; goes with "downgrade".
            downgrade_at_percent: Percent of the limit spent from which they are; 0: 90.
            timeout: Patience in seconds; None: the client's.
        """
        payload = _budget_requests.set_bytes(
            name,
            period=period,
            limit_usd=limit_usd,
            action=action,
            selector=selector or {},
            each=each,
            require_known_prices=require_known_prices,
            downgrade_to=downgrade_to,
            downgrade_at_percent=downgrade_at_percent,
        )
        return await self._send(_call.SET_BUDGET, payload, timeout)

    def budgets(self, *, page_size: int = 0, timeout: float | None = None) -> AsyncIterator[Budget]:
        """Return an iterator over budgets by name: those of the daemon's settings and those that were set."""
        return self._pages(_call.BUDGETS, _budget_requests.page(page_size=page_size), timeout)

    async def budget(self, name: str, /, *, timeout: float | None = None) -> Budget:
        """Return one budget."""
        return await self._send(_call.BUDGET, _budget_requests.get_bytes(name), timeout)

    async def delete_budget(self, name: str, /, *, timeout: float | None = None) -> None:
        """Remove a budget that was set, and its pauses."""
        await self._send(_call.DELETE_BUDGET, _budget_requests.delete_bytes(name), timeout)

    async def budget_status(self, name: str = "", /, *, timeout: float | None = None) -> tuple[BudgetWindow, ...]:
        """Return the running windows of one budget, or of all, with a forecast."""
        return await self._send(_call.BUDGET_STATUS, _budget_requests.status_bytes(name), timeout)

    async def pause_budget(self, name: str, /, *, key: str = "", timeout: float | None = None) -> bool:
        """Refuse paid calls under a budget until `resume_budget()`, and return whether it was not paused before.

        Args:
            name: The budget.
            key: Value, of a budget that holds per value; empty: all of it.
            timeout: Patience in seconds; None: the client's.
        """
        return await self._send(_call.PAUSE_BUDGET, _budget_requests.pause_bytes(name, key), timeout)

    async def resume_budget(self, name: str, /, *, key: str = "", timeout: float | None = None) -> int:
        """End the pause of a value, or without a key all pauses of a budget, and return how many ended."""
        return await self._send(_call.RESUME_BUDGET, _budget_requests.resume_bytes(name, key), timeout)

    def alerts(self, *, budget: str = "", page_size: int = 0, timeout: float | None = None) -> AsyncIterator[Alert]:
        """Return an iterator over what budgets have told, newest first."""
        return self._pages(_call.ALERTS, _budget_requests.alert_page(budget=budget, page_size=page_size), timeout)

    def watch_alerts(self, *, budget: str = "", after: int | None = None, timeout: float | None = None) -> AsyncIterator[Alert]:
        """Return an iterator that brings alerts as they happen.

        Args:
            budget: Only of this budget; empty: any.
            after: Id of the alert seen last, so that those since then come first; None: only what comes from now on.
            timeout: Patience for all of it in seconds; None: the client's; infinity: without end.
        """
        return self._streamed(_call.WATCH_ALERTS, _budget_requests.watch_bytes(budget=budget, after=after), timeout)
