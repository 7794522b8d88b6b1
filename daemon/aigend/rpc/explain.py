"""CompletionService.ExplainCompletion: what became of a request as far as money goes."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial

from aigen.v1 import completion_pb2 as pb

from aigend.completion.refusals import Refusal, Refusals
from aigend.completion.snapshot import Snapshot
from aigend.errors import DomainError, Reason, invalid
from aigend.ledger.entries import AttemptState
from aigend.ledger.explain import Counted, ExplainedAttempt, ExplainedOperation, entry_called, find_operation
from aigend.ledger.ledger import Ledger
from aigend.ledger.prices.cost_lines import CostLine, CostSum, cost_sum
from aigend.ledger.statistics.hits import LastCall
from aigend.rpc.answer_codec import pack_usage
from aigend.rpc.caller import LOCAL_SCOPE, check_request_id
from aigend.rpc.enums import ATTEMPT_STATE, BASIS, CAUSE, OUTCOME
from aigend.rpc.times import timestamp
from aigend.rpc.usage import pack_savings
from aigend.scheduling.prompt_cache.decisions import Decisions
from aigend.types import CostBasis, SavingsCause


class ExplainServicer:
    """Explains completions.

    Args:
        ledger: The usage ledger.
        snapshot: Returns what is in force, for the prices.
        refusals: The last refusals.
        decisions: What was decided about prompt caches lately.
    """

    def __init__(self, ledger: Ledger, snapshot: Callable[[], Snapshot], *, refusals: Refusals, decisions: Decisions) -> None:
        self._ledger = ledger
        self._snapshot = snapshot
        self._refusals = refusals
        self._decisions = decisions

    async def explain_completion(self, request: pb.ExplainCompletionRequest) -> pb.ExplainCompletionResponse:
        """Say what became of a request id."""
        if not request.request_id:
            raise invalid("request_id", "", "the id of a request")
        wanted = check_request_id(request.request_id)
        found = await self._ledger.read(partial(find_operation, scope=LOCAL_SCOPE, request_id=wanted), fresh=False)
        free = [call for call in self._ledger.hits.last_calls() if (call.key.scope, call.request_id) == (LOCAL_SCOPE, wanted)]
        refusals = self._refusals.of(LOCAL_SCOPE, wanted)
        if found is None and not free and not refusals:
            text = f"nothing is known of request id {wanted!r}: nothing was held under it, and it is not among the last calls"
            raise DomainError(Reason.NOT_FOUND, text, request_id=wanted)
        await self._snapshot().prices.load()
        response = pb.ExplainCompletionResponse(
            request_id=wanted,
            free_answers=[_pack_free(call) for call in free],
            refusals=[_pack_refusal(refusal) for refusal in refusals],
        )
        if found is not None:
            response.MergeFrom(self._pack_operation(found))
        return response

    def _pack_operation(self, found: ExplainedOperation) -> pb.ExplainCompletionResponse:
        account = found.attempts[-1].entry if found.attempts else None
        about = {} if account is None else {name: getattr(account, name) for name in _ACCOUNT}
        return pb.ExplainCompletionResponse(
            **about,
            state=ATTEMPT_STATE.pack(found.state),
            create_time=timestamp(found.create_time),
            requested_model=found.requested_model,
            attempts=[self._pack_attempt(attempt) for attempt in found.attempts],
            archive_file=found.archive_file,
        )

    def _pack_attempt(self, attempt: ExplainedAttempt) -> pb.ExplainedAttempt:
        entry = attempt.entry
        settled = entry.state is AttemptState.SETTLED
        summed = self._sum_of(attempt) if settled else None
        return pb.ExplainedAttempt(
            entry_id=entry.id,
            attempt_number=entry.attempt_number,
            state=ATTEMPT_STATE.pack(entry.state),
            reason=attempt.reason,
            provider=entry.provider,
            model=entry.model,
            resolved_model=entry.resolved_model,
            cache_outcome=OUTCOME.pack(entry.outcome),
            create_time=timestamp(entry.create_time),
            update_time=timestamp(entry.update_time),
            provider_us=entry.provider_us,
            total_us=attempt.total_us,
            reserved_usd_nanos=attempt.held_nanos,
            cost_usd_nanos=entry.cost.nanos,
            cost_basis=BASIS.pack(entry.cost.basis) if settled else None,
            unknown_low_usd_nanos=attempt.unknown_low_nanos,
            unknown_high_usd_nanos=attempt.unknown_high_nanos,
            usage=None if entry.usage is None else pack_usage(entry.usage),
            price_entry_id=entry.cost.price_entry_id,
            arithmetic=None if summed is None else _pack_sum(summed, attempt),
            flags=entry.flags,
            savings=pack_savings(entry.savings),
            windows=[self._pack_window(window) for window in attempt.windows],
            decisions=self._decided(attempt),
            prefix=attempt.prefix,
            read_prefix=attempt.read_prefix,
            write_premium_usd_nanos=attempt.write_premium_nanos,
        )

    def _decided(self, attempt: ExplainedAttempt) -> list[str]:
        """What was decided for its caller, and, while that is remembered, about the prompt cache of its route."""
        entry = attempt.entry
        row = self._decisions.of(LOCAL_SCOPE, request_id=entry.request_id)
        told = row is not None and (row.provider, row.model) == (entry.provider, entry.model)
        prompt = [f"prompt cache, {row.decision}: {row.reason}"] if told and row is not None else []
        return [*([attempt.decided] if attempt.decided else []), *prompt]

    def _sum_of(self, attempt: ExplainedAttempt) -> CostSum | None:
        """How its cost comes about; None where its price entry is not among those known any more."""
        entry, snapshot = attempt.entry, self._snapshot()
        if entry.usage is None or not attempt.priced_with:
            return None
        known = snapshot.prices.listed(snapshot.price_providers.get(entry.provider, entry.provider), entry.model, entry.create_time)
        price = entry_called(known, attempt.priced_with)
        return None if price is None else cost_sum(entry.usage, price)

    def _pack_window(self, window: Counted) -> pb.ExplainedWindow:
        return pb.ExplainedWindow(
            budget=window.budget,
            key=window.key,
            window=window.window,
            limit_usd_nanos=self._ledger.budgets.book.limits.get(window.budget),
            spent_usd_nanos=window.spent_nanos,
            reserved_usd_nanos=window.reserved_nanos,
        )


_ACCOUNT = ("service", "agent", "session", "phase", "task", "labels")


def _pack_sum(summed: CostSum, attempt: ExplainedAttempt) -> pb.CostArithmetic:
    cost, computed, exact = attempt.entry.cost, summed.cost_nanos, summed.exact_nanos
    return pb.CostArithmetic(
        price_entry_id=summed.price.id,
        source=summed.price.source,
        checked_on="" if summed.price.checked_on is None else summed.price.checked_on.isoformat(),
        above_tokens=summed.above_tokens,
        lines=[_pack_line(line) for line in summed.lines],
        exact_usd_nanos="" if exact is None else _text(exact),
        cost_usd_nanos=computed,
        booked=computed is not None and cost.basis is not CostBasis.PROVIDER_REPORTED and computed == cost.nanos,
    )


def _pack_line(line: CostLine) -> pb.CostLine:
    return pb.CostLine(
        name=line.name,
        count=line.count,
        rate="" if line.rate is None else _text(line.rate),
        stand_in=line.stand_in,
        usd_nanos="" if line.nanos is None else _text(line.nanos),
    )


def _text(value: Decimal) -> str:
    """Digits without an exponent and without zeros at the end."""
    return f"{value.normalize():f}"


def _pack_free(call: LastCall) -> pb.FreeAnswer:
    return pb.FreeAnswer(
        time=timestamp(call.time),
        cache_outcome=OUTCOME.pack(call.key.outcome),
        provider=call.key.provider,
        model=call.key.model,
        saved_usd_nanos=call.saved_nanos,
        saved_cause=CAUSE.pack(SavingsCause(call.key.cause)) if call.key.cause else None,
        total_us=call.latency_us,
    )


def _pack_refusal(refusal: Refusal) -> pb.RecentRefusal:
    return pb.RecentRefusal(time=timestamp(refusal.time), reason=refusal.reason, text=refusal.text, budget=refusal.budget)
