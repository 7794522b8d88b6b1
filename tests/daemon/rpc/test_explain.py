"""ExplainCompletion and the prompt-cache doctor on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aigen.v1 import completion_pb2, message_pb2, usage_pb2

from tests.daemon.ledger.ledger_calls import intent
from tests.daemon.rpc.served import Served, asked, failure, served


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    """A running server."""
    async with served(tmp_path) as running:
        yield running


async def _explain(server: Served, request_id: str) -> completion_pb2.ExplainCompletionResponse:
    return await server.completion.ExplainCompletion(completion_pb2.ExplainCompletionRequest(request_id=request_id))


async def _complete(server: Served, request_id: str, **fields) -> completion_pb2.CompleteResponse:
    return await server.completion.Complete(asked(**fields), metadata=(("aigen-request-id", request_id),))


class TestExplain:
    """ExplainCompletion."""

    async def test_a_recorded_call_adds_up_to_the_nano_dollar(self, server: Served) -> None:
        """Each bucket with its rate, and their sum is what is booked."""
        usage = {"input_tokens": 1_003, "output_tokens": 7}
        await server.usage.RecordUsage(
            usage_pb2.RecordUsageRequest(request_id="r", provider="openai", model="gpt-4o-mini", usage=usage, session="s")
        )
        found = await _explain(server, "r")
        (attempt,) = found.attempts
        assert (found.state, found.session, found.requested_model) == (message_pb2.ATTEMPT_STATE_SETTLED, "s", "gpt-4o-mini")
        assert [(line.name, line.count, line.rate, line.usd_nanos) for line in attempt.arithmetic.lines] == [
            ("input", 1_003, "0.15", "150450"),
            ("output", 7, "0.6", "4200"),
        ]
        assert attempt.arithmetic.booked
        assert attempt.arithmetic.cost_usd_nanos == attempt.cost_usd_nanos == 154_650
        assert attempt.arithmetic.price_entry_id == attempt.price_entry_id

    async def test_a_bill_of_the_provider_is_not_what_the_rates_say(self, server: Served) -> None:
        """The provider's own figure is booked; the arithmetic says that it is another one."""
        await server.usage.RecordUsage(
            usage_pb2.RecordUsageRequest(
                request_id="r", provider="openai", model="gpt-4o-mini", usage={"input_tokens": 1_000}, cost_usd_nanos=5
            )
        )
        (attempt,) = (await _explain(server, "r")).attempts
        assert (attempt.cost_usd_nanos, attempt.arithmetic.cost_usd_nanos, attempt.arithmetic.booked) == (5, 150_000, False)

    async def test_a_paid_call_and_its_hit_stand_under_their_ids(self, server: Served) -> None:
        """The paid one has an attempt; the hit nothing but itself, with what it saved."""
        await _complete(server, "paid")
        await _complete(server, "free")
        paid, free = await _explain(server, "paid"), await _explain(server, "free")
        assert [attempt.attempt_number for attempt in paid.attempts] == [1]
        assert paid.attempts[0].reserved_usd_nanos >= paid.attempts[0].cost_usd_nanos
        assert not free.attempts
        assert not free.state
        (answer,) = free.free_answers
        assert answer.cache_outcome == completion_pb2.CACHE_OUTCOME_HIT
        assert answer.saved_usd_nanos == paid.attempts[0].cost_usd_nanos

    async def test_unknown_bounds_and_reason_are_told(self, server: Served) -> None:
        """An attempt whose outcome is unknown: why, at least, at most."""
        reservation = await server.house.ledger.reserve(intent("lost", scope="local", create_time=server.house.clock.time()))
        await server.house.ledger.mark_unknown(reservation, low_nanos=3, high_nanos=800, reason="timeout")
        (attempt,) = (await _explain(server, "lost")).attempts
        assert (attempt.reason, attempt.unknown_low_usd_nanos, attempt.unknown_high_usd_nanos) == ("timeout", 3, 800)
        assert not attempt.HasField("cost_usd_nanos")
        assert not attempt.HasField("arithmetic")

    @pytest.mark.parametrize("scope", ["somebody else"])
    async def test_what_is_not_known_or_another_scopes_is_not_found(self, server: Served, scope: str) -> None:
        """The id is named; ids of others are as unknown as ids of nobody."""
        reservation = await server.house.ledger.reserve(intent("theirs", scope=scope, create_time=server.house.clock.time()))
        await server.house.ledger.release(reservation, reason="x")
        for wanted in ("never-made", "theirs"):
            refused = await failure(_explain(server, wanted))
            assert (refused.reason, refused.metadata["request_id"]) == ("NOT_FOUND", wanted)
        assert (await failure(_explain(server, ""))).reason == "INVALID_REQUEST"


class TestDoctor:
    """DiagnosePromptCache and ListLedgerArchives."""

    async def test_writes_and_reads_of_the_ledger_are_summed(self, server: Served) -> None:
        """What was recorded counts, of a prefix that nobody knows; the sums are those of the savings."""
        for number, usage in enumerate(({"cache_write_5m_tokens": 1_000}, {"cache_read_tokens": 500})):
            await server.usage.RecordUsage(
                usage_pb2.RecordUsageRequest(
                    request_id=f"r{number}", provider="anthropic", model="claude-opus-4-5", usage=usage, service="s"
                )
            )
        asked_for = usage_pb2.DiagnosePromptCacheRequest(filter={"service": "s"})
        found = await server.usage.DiagnosePromptCache(asked_for)
        stats = await server.usage.GetStats(usage_pb2.GetStatsRequest())
        (saving,) = stats.totals.savings
        assert saving.saved_usd_nanos == found.saved_usd_nanos - found.premium_usd_nanos
        assert (found.written_tokens, found.read_tokens, found.prefix_count) == (1_000, 500, 1)
        assert found.prefixes[0].prefix == ""
        assert found.prefixes[0].reads_needed
        nothing = await server.usage.DiagnosePromptCache(usage_pb2.DiagnosePromptCacheRequest(filter={"service": "t"}))
        assert not nothing.prefixes

    async def test_what_can_not_be_is_refused(self, server: Served) -> None:
        """Too many prefixes, a period that is none."""
        assert (await failure(server.usage.DiagnosePromptCache(usage_pb2.DiagnosePromptCacheRequest(prefix_count=-1)))).reason
        refused = await failure(server.usage.DiagnosePromptCache(usage_pb2.DiagnosePromptCacheRequest(prefix_count=1_001)))
        assert (refused.reason, refused.metadata["field"]) == ("INVALID_REQUEST", "prefix_count")

    async def test_a_ledger_without_archives_has_none(self, server: Served) -> None:
        """Nothing was taken out."""
        assert not (await server.usage.ListLedgerArchives(usage_pb2.ListLedgerArchivesRequest())).archives
