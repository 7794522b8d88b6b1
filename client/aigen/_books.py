"""The half of the synchronous client that keeps the books: corrections, exports, reports and prices."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Unpack

from aigen import _book_requests, _call, _queries
from aigen._transport import Transport
from aigen.books import ListedPrice, RecordedUsage, RefreshedPrices, Report, Repricing
from aigen.reports import AttemptState, LedgerEntry
from aigen.results import TokenUsage


class Books(Transport):
    """Methods of `Client` that correct the ledger, tell all of it, and look after prices."""

    def export_ledger(
        self,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        states: Sequence[AttemptState | str] = (),
        timeout: float | None = None,
        **where: Unpack[_queries.UsageFilter],
    ) -> Iterator[LedgerEntry]:
        """Return an iterator over charges, newest first, as a stream: however many they are, few are in memory.

        Args:
            start_time: First moment of creation, inclusive, with its time zone.
            end_time: Last moment of creation, exclusive, with its time zone.
            states: Only entries in one of these states; empty: any.
            timeout: Patience for the whole of it in seconds; None: the client's.
            where: Only calls that match all of provider, model, agent, service, session, phase, task and labels.
        """
        payload = _book_requests.export_bytes(start_time=start_time, end_time=end_time, states=states, where=where)
        return self._streamed(_call.EXPORT, payload, timeout)

    def record_usage(
        self,
        provider: str,
        model: str,
        /,
        *,
        request_id: str,
        usage: TokenUsage,
        cost_usd_nanos: int | None = None,
        create_time: datetime | None = None,
        batch: bool = False,
        agent: str = "",
        service: str = "",
        phase: str | int | None = None,
        session: str = "",
        task: str = "",
        labels: Mapping[str, str] | None = None,
        resolved_model: str = "",
        provider_usage_json: str = "",
        timeout: float | None = None,
    ) -> RecordedUsage:
        """Book a call that was made without aigen, once for its id; no budget refuses it.

        Args:
            provider: Who ran it.
            model: The provider's name of the model.
            request_id: Id of the call; told twice, it is booked once.
            usage: Its tokens.
            cost_usd_nanos: What the provider said it cost, in nano-dollars; None: priced like other calls.
            create_time: When it was made, with its time zone; None: now.
            batch: Whether it was made through the provider's batch API, at its price.
            agent: Named role; empty: none.
            service: Who asked; empty: none.
            phase: Place in the pipeline; None: none.
            session: Session; empty: none.
            task: What it was for; empty: none.
            labels: At most 16.
            resolved_model: Model as the answer named it; empty: not known.
            provider_usage_json: Usage as the provider reported it; empty: none.
            timeout: Patience in seconds; None: the client's.

        Raises:
            InvalidRequest: A field can't be, or the id stands for another call.
        """
        payload = _book_requests.record_bytes(
            provider=provider,
            model=model,
            request_id=request_id,
            usage=usage,
            cost_usd_nanos=cost_usd_nanos,
            create_time=create_time,
            batch=batch,
            agent=agent,
            service=service,
            phase=phase,
            session=session,
            task=task,
            labels=labels,
            resolved_model=resolved_model,
            provider_usage_json=provider_usage_json,
        )
        return self._send(_call.RECORD, payload, timeout)

    def settle_entry(
        self,
        entry_id: str,
        /,
        *,
        cost_usd_nanos: int | None = None,
        usage: TokenUsage | None = None,
        note: str = "",
        timeout: float | None = None,
    ) -> LedgerEntry:
        """Book what an attempt of unknown outcome cost after all, and return its entry.

        Args:
            entry_id: The entry.
            cost_usd_nanos: What the provider billed, in nano-dollars; None: priced by its usage.
            usage: Its tokens; None: not known, and the cost must be given.
            note: Why it is known now.
            timeout: Patience in seconds; None: the client's.

        Raises:
            NotFound: There is no such entry.
            InvalidRequest: Its outcome is known, or neither cost nor usage is given.
        """
        payload = _book_requests.settle_bytes(entry_id, cost_usd_nanos=cost_usd_nanos, usage=usage, note=note)
        return self._send(_call.SETTLE, payload, timeout)

    def release_entry(self, entry_id: str, /, *, note: str = "", timeout: float | None = None) -> LedgerEntry:
        """Give back what an attempt of unknown outcome holds, because it was not charged, and return its entry.

        Raises:
            NotFound: There is no such entry.
            InvalidRequest: Its outcome is known.
        """
        return self._send(_call.RELEASE, _book_requests.release_bytes(entry_id, note=note), timeout)

    def reprice_ledger(
        self,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        validate_only: bool = False,
        timeout: float | None = None,
        **where: Unpack[_queries.UsageFilter],
    ) -> Repricing:
        """Compute the cost of settled entries anew from the prices known now, and return what changed.

        Args:
            start_time: First moment of creation, inclusive, with its time zone.
            end_time: Last moment of creation, exclusive, with its time zone.
            validate_only: Says what would change and changes nothing.
            timeout: Patience in seconds; None: the client's.
            where: Only calls that match all of provider, model, agent, service, session, phase, task and labels.
        """
        payload = _book_requests.reprice_bytes(start_time=start_time, end_time=end_time, validate_only=validate_only, where=where)
        return self._send(_call.REPRICE, payload, timeout)

    def report(
        self,
        *,
        date: str = "",
        month: str = "",
        session: str = "",
        time_zone: str = "",
        entry_count: int = 0,
        timeout: float | None = None,
    ) -> Report:
        """Return a report of exactly one of a day, a month or a session.

        Args:
            date: Day in the time zone, as YYYY-MM-DD.
            month: Month in the time zone, as YYYY-MM.
            session: Session, over all time.
            time_zone: IANA name; empty: the daemon's.
            entry_count: How many of the dearest and of the unknown charges are listed; 0: 10.
            timeout: Patience in seconds; None: the client's.
        """
        payload = _book_requests.report_bytes(date=date, month=month, session=session, time_zone=time_zone, entry_count=entry_count)
        return self._send(_call.REPORT, payload, timeout)

    def prices(
        self, *, provider: str = "", model: str = "", page_size: int = 0, timeout: float | None = None
    ) -> Iterator[ListedPrice]:
        """Return an iterator over every price known of the catalog's models, by provider and model."""
        first = _book_requests.price_page(provider=provider, model=model, page_size=page_size)
        return self._pages(_call.PRICES, first, timeout)

    def refresh_prices(self, *, timeout: float | None = None) -> RefreshedPrices:
        """Let the daemon fetch the published prices anew, and return what changed.

        Raises:
            ProviderUnavailable: They can't be fetched; the prices in force stay.
        """
        return self._send(_call.REFRESH, b"", timeout)
