"""The part of the synchronous client that asks where money went, and why."""

from collections.abc import Iterator
from datetime import datetime
from typing import Unpack

from aigen import _call, _convert_explanations, _queries
from aigen._transport import Transport
from aigen.explanations import Explanation, LedgerArchive, PromptCacheDiagnosis
from aigen.reports import Period


class Explaining(Transport):
    """Methods of `Client` that explain."""

    def explain(self, request_id: str, /, *, timeout: float | None = None) -> Explanation:
        """Return what became of a request as far as money goes: attempts, how each cost comes about, budgets, refusals, savings.

        Args:
            request_id: Id of the request.
            timeout: Patience in seconds; None: the client's.

        Raises:
            NotFound: Nothing is known of it.
        """
        return self._send(_call.EXPLAIN, _convert_explanations.explain_bytes(request_id), timeout)

    def diagnose_prompt_cache(
        self,
        *,
        period: Period | str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        time_zone: str = "",
        prefix_count: int = 0,
        timeout: float | None = None,
        **where: Unpack[_queries.UsageFilter],
    ) -> PromptCacheDiagnosis:
        """Return what writes to providers' prompt caches cost and their reads saved, prefix by prefix, and what would help.

        Args:
            period: "today", "week", "month" or "all"; not together with `start_time` or `end_time`.
            start_time: First moment, inclusive, with its time zone.
            end_time: Last moment, exclusive, with its time zone.
            time_zone: IANA name in which days begin; empty: the daemon's.
            prefix_count: How many prefixes are listed; 0: 20.
            timeout: Patience in seconds; None: the client's.
            where: Only calls that match all of provider, model, agent, service, session, phase, task and labels.
        """
        payload = _convert_explanations.diagnose_bytes(
            period=period,
            start_time=start_time,
            end_time=end_time,
            time_zone=time_zone,
            prefix_count=prefix_count,
            where=where,
        )
        return self._send(_call.DIAGNOSE, payload, timeout)

    def ledger_archives(self, *, page_size: int = 0, timeout: float | None = None) -> Iterator[LedgerArchive]:
        """Return an iterator over the months whose charges were taken out of the ledger into files, oldest first."""
        return self._pages(_call.ARCHIVES, _convert_explanations.archive_page(page_size=page_size), timeout)
