"""Step 2 where money runs short: calls that a budget sends to its cheaper model, before they are made or once they found no room.

Which budget does so is the ledger's to say; the model's key, its look-up and its flight are those of any other route.
"""

from collections.abc import Callable

from aigend.completion.call import Call
from aigend.completion.snapshot import Snapshot
from aigend.errors import DomainError, Reason
from aigend.ledger.budgets.book import Candidate, Claim
from aigend.ledger.budgets.desk import BudgetDesk
from aigend.types import Caller, CompletionRequest, ModelRoute


class Downgrades:
    """Replaces routes by what budgets can still pay.

    Args:
        budgets: Knows how far they are spent.
    """

    def __init__(self, budgets: BudgetDesk) -> None:
        self._budgets = budgets

    def applied(
        self,
        request: CompletionRequest,
        caller: Caller,
        snapshot: Snapshot,
        routes: tuple[ModelRoute, ...],
        *,
        refused_by: str = "",
    ) -> tuple[tuple[ModelRoute, ...], tuple[str, ...]]:
        """Return the routes that are left of a call's, each once, and what its caller is to be warned of.

        A route stays where the cheaper model is not known any more or lacks what the request needs: the limit holds all the same.

        Args:
            request: What is asked.
            caller: On whose account.
            snapshot: Has the catalog.
            routes: As policy and strategy would have them.
            refused_by: Budget that refused the call on these routes; empty for none.
        """
        if not self._budgets.book.downgrades:
            return routes, ()
        left: dict[ModelRoute, None] = {}
        warnings: dict[str, None] = {}
        for route in routes:
            claim = self._budgets.downgrade(_on(request, caller, route), refused_by=refused_by)
            cheaper = None if claim is None else _cheaper(claim, request, snapshot)
            left[cheaper or route] = None
            if claim is not None and cheaper is not None and cheaper.route != route.route:
                warnings[_said(claim, route, cheaper)] = None
        return tuple(left), tuple(warnings)

    def instead(self, call: Call, refusal: DomainError, again: Callable[[str], Call]) -> Call | None:
        """Return a call that goes to the cheaper model of the budget that refused it; None where there is none (more).

        Args:
            call: What was refused.
            refusal: Why.
            again: Enters step 2 once more, with the name of the budget that refused.
        """
        if refusal.reason is not Reason.BUDGET_EXCEEDED or call.warnings or not self._budgets.book.downgrades:
            return None
        cheaper = again(refusal.metadata.get("budget", ""))
        return cheaper if cheaper.warnings else None


def _on(request: CompletionRequest, caller: Caller, route: ModelRoute) -> Candidate:
    return Candidate(
        accounting=caller.accounting, agent=request.agent, service=request.service, phase=request.phase, route=route.route
    )


def _cheaper(claim: Claim, request: CompletionRequest, snapshot: Snapshot) -> ModelRoute | None:
    try:
        return snapshot.router.one(claim.downgrade_to, request)
    except DomainError:
        return None


def _said(claim: Claim, route: ModelRoute, cheaper: ModelRoute) -> str:
    there, here = (f"{one.route.provider}/{one.route.model}" for one in (route, cheaper))
    return f"budget {claim.label} is short in window {claim.window.name}: {here} in place of {there}"
