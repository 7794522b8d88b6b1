"""UsageService, its half that corrects: calls of elsewhere, unknown outcomes, other prices."""

import hashlib
from collections.abc import Callable
from functools import partial

from aigen.v1 import completion_pb2, message_pb2
from aigen.v1 import usage_pb2 as pb

from aigend.clock import Clock
from aigend.completion.snapshot import Snapshot
from aigend.errors import invalid
from aigend.ledger.archives.rows import files_of_range
from aigend.ledger.corrections import Corrections, RecordedCall
from aigend.ledger.entries_store import EntriesQuery
from aigend.ledger.ledger import Ledger
from aigend.ledger.prices.pricing import PriceEntry
from aigend.ledger.reprice import RepricedModel, Repricer
from aigend.rpc.caller import LOCAL_SCOPE, MAX_NAME, check_request_id, unpack_accounting
from aigend.rpc.usage import optional_moment, pack_entry, unpack_filter
from aigend.types import Route, TokenUsage

MAX_NOTE = 256
MAX_USAGE_JSON = 65_536


class CorrectionServicer:
    """Corrects the ledger.

    Args:
        ledger: The usage ledger.
        snapshot: Returns what is in force, for the prices.
        clock: Says which times have passed.
    """

    def __init__(self, ledger: Ledger, snapshot: Callable[[], Snapshot], *, clock: Clock) -> None:
        self._corrections = Corrections(ledger, price_of=self._price_of)
        self._repricer = Repricer(ledger, price_of=self._price_of)
        self._ledger = ledger
        self._snapshot = snapshot
        self._clock = clock

    async def record_usage(self, request: pb.RecordUsageRequest) -> pb.RecordUsageResponse:
        """Book a call made elsewhere."""
        call = _recorded_call(request)
        await self._snapshot().prices.load()
        recorded = await self._corrections.record(call, now=self._clock.time())
        return pb.RecordUsageResponse(entry=pack_entry(recorded.entry), created=recorded.created, warnings=recorded.warnings)

    async def settle_ledger_entry(self, request: pb.SettleLedgerEntryRequest) -> pb.SettleLedgerEntryResponse:
        """Book what an attempt of unknown outcome cost after all."""
        await self._snapshot().prices.load()
        entry = await self._corrections.settle(
            LOCAL_SCOPE,
            request.entry_id,
            usage=unpack_usage(request.usage) if request.HasField("usage") else None,
            cost_nanos=request.cost_usd_nanos if request.HasField("cost_usd_nanos") else None,
            note=_text("note", request.note, most=MAX_NOTE),
        )
        return pb.SettleLedgerEntryResponse(entry=pack_entry(entry))

    async def release_ledger_entry(self, request: pb.ReleaseLedgerEntryRequest) -> pb.ReleaseLedgerEntryResponse:
        """Give back what an attempt of unknown outcome holds."""
        note = _text("note", request.note, most=MAX_NOTE)
        entry = await self._corrections.release(LOCAL_SCOPE, request.entry_id, note=note)
        return pb.ReleaseLedgerEntryResponse(entry=pack_entry(entry))

    async def reprice_ledger(self, request: pb.RepriceLedgerRequest) -> pb.RepriceLedgerResponse:
        """Compute costs anew, from the prices known now."""
        await self._snapshot().prices.load()
        query = EntriesQuery(
            scope=LOCAL_SCOPE,
            filter=unpack_filter(request.filter),
            start=optional_moment(request, "start_time"),
            end=optional_moment(request, "end_time"),
        )
        found = await self._repricer.run(query, validate_only=request.validate_only)
        files = await self._ledger.read(partial(files_of_range, start=query.start, end=query.end), fresh=False)
        return pb.RepriceLedgerResponse(
            examined_count=found.examined_count,
            changed_count=found.changed_count,
            kept_count=found.kept_count,
            unpriced_count=found.unpriced_count,
            before_usd_nanos=found.before_nanos,
            after_usd_nanos=found.after_nanos,
            models=[_pack_repriced(model) for model in found.models.values()],
            archive_files=files,
        )

    def _price_of(self, route: Route, at: float) -> PriceEntry | None:
        snapshot = self._snapshot()
        return snapshot.prices.lookup(snapshot.priced_as(route), route.model, at)


def unpack_usage(message: message_pb2.TokenUsage) -> TokenUsage:
    """Return token buckets as they were told; whether they can be is not looked at."""
    return TokenUsage(
        input=message.input_tokens,
        cache_read=message.cache_read_tokens,
        cache_write_5m=message.cache_write_5m_tokens,
        cache_write_1h=message.cache_write_1h_tokens,
        output=message.output_tokens,
        reasoning=message.reasoning_tokens,
        searches=message.search_count,
    )


def _recorded_call(request: pb.RecordUsageRequest) -> RecordedCall:
    if not request.request_id:
        raise invalid("request_id", "", "an id of the call, which makes telling it twice harmless")
    if not request.HasField("usage"):
        raise invalid("usage", "unset", "the tokens of the call")
    account = completion_pb2.Accounting(session=request.session, task=request.task, labels=dict(request.labels))
    return RecordedCall(
        scope=LOCAL_SCOPE,
        request_id=check_request_id(request.request_id),
        request_digest=hashlib.sha256(request.SerializeToString(deterministic=True)).digest(),
        accounting=unpack_accounting(account.SerializeToString()),
        route=Route(_text("provider", request.provider, least=1), _text("model", request.model, least=1)),
        usage=unpack_usage(request.usage),
        agent=_text("agent", request.agent),
        service=_text("service", request.service),
        phase=_text("phase", request.phase),
        resolved_model=_text("resolved_model", request.resolved_model),
        provider_usage_json=_usage_json(request.provider_usage_json),
        cost_nanos=request.cost_usd_nanos if request.HasField("cost_usd_nanos") else None,
        batch=request.batch,
        create_time=optional_moment(request, "create_time"),
    )


def _text(field: str, value: str, *, least: int = 0, most: int = MAX_NAME) -> str:
    if not least <= len(value) <= most or (value and not value.isprintable()):
        raise invalid(field, value, f"{least} to {most} printable characters")
    return value


def _usage_json(text: str) -> str:
    if len(text) > MAX_USAGE_JSON:
        raise invalid("provider_usage_json", f"{len(text)} characters", f"at most {MAX_USAGE_JSON}")
    return text


def _pack_repriced(model: RepricedModel) -> pb.RepricedModel:
    return pb.RepricedModel(
        provider=model.route.provider,
        model=model.route.model,
        changed_count=model.changed_count,
        before_usd_nanos=model.before_nanos,
        after_usd_nanos=model.after_nanos,
        price_entry_id=model.price_entry_id,
    )
