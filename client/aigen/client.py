"""The client for ordinary, synchronous programs.

Short methods: build the request, call, convert. Building, converting and every decision are shared with `aio.py`.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Unpack
from uuid import UUID

from aigen import _call, _convert, _queries, _requests
from aigen._books import Books
from aigen._budgets import Budgets
from aigen._explaining import Explaining
from aigen._jobs import Jobs
from aigen._stream import CompletionStream
from aigen._tracing import trace_headers
from aigen._watching import Watching
from aigen.catalog import Capability, ModelTier
from aigen.errors import AigenError
from aigen.prefixes import PrefixDecision
from aigen.reports import (
    AttemptState,
    CacheEntry,
    CacheStats,
    ClearedCache,
    DaemonStatus,
    GroupBy,
    LedgerEntry,
    Model,
    Period,
    ServicePolicy,
    Setting,
    Stats,
)
from aigen.results import Completion, Estimate
from aigen.types import CompletionOptions, Prompt


class Client(Books, Budgets, Explaining, Jobs, Watching):
    """Talks to the aigend of this machine; safe to share between threads.

    The connection is made with the first call, which waits up to `connect_timeout` for a daemon that is not there yet. A daemon
    that is restarted is waited for as well, and calls under way are sent again under their request id, so that none is paid
    twice. A client does not survive a fork: make a new one in the child process.

    Args:
        socket: Path of the daemon's socket. None: `AIGEN_SOCKET`, else the first that answers of
            `$XDG_RUNTIME_DIR/aigen/aigend.sock` and `/run/aigend/aigend.sock`.
        timeout: Patience of a call that brings no timeout of its own, in seconds; infinity: without end.
        connect_timeout: Longest wait for a daemon that was not reached yet, in seconds.
        restart_timeout: Longest wait for a daemon that was reached and went away, in seconds.
        service: Service that asks, where neither call nor session names one.

    Raises:
        InvalidRequest: A setting holds what it may not hold.

    Example:
        ```python
        import aigen

        client = aigen.Client()
        answer = client.complete("Say hello", model="gpt-4o-mini")
        print(answer.text, answer.cost_usd)
        ```
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        timeout: float = 600.0,
        connect_timeout: float = 5.0,
        restart_timeout: float = 60.0,
        service: str = "",
    ) -> None:
        super().__init__(socket, timeout=timeout, connect_timeout=connect_timeout, restart_timeout=restart_timeout, service=service)

    def complete(
        self,
        prompt_or_messages: Prompt,
        /,
        *,
        timeout: float | None = None,
        request_id: str | UUID | None = None,
        allow_repeat: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> Completion:
        """Return one answer, from the cache, from the same call already in flight, or from a provider.

        Args:
            prompt_or_messages: The prompt, or the conversation, oldest message first.
            timeout: Patience in seconds; None: the client's.
            request_id: Id under which the call is paid at most once; None: a new UUID. The same id brings the same answer.
            allow_repeat: Allows a second paid call under an id whose first outcome is unknown.
            options: What shapes the answer; see `CompletionOptions`.

        Raises:
            AigenError: Why there is no answer; see `aigen.errors` for the tree.
        """
        context = self._context(prompt_or_messages, options)
        payload = _requests.complete_bytes(prompt_or_messages, options, context, self._service)
        key = self._request_id(request_id)
        metadata = _call.call_metadata(key, context, allow_repeat=allow_repeat)
        return self._send(_call.COMPLETE, payload, timeout, metadata=metadata, request_id=key)

    def stream(
        self,
        prompt_or_messages: Prompt,
        /,
        *,
        timeout: float | None = None,
        request_id: str | UUID | None = None,
        allow_repeat: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> CompletionStream:
        """Return one answer as a stream of text; arguments as for `complete()`."""
        context = self._context(prompt_or_messages, options)
        payload = _requests.stream_bytes(prompt_or_messages, options, context, self._service)
        key = self._request_id(request_id)
        metadata = _call.call_metadata(key, context, allow_repeat=allow_repeat)
        return CompletionStream(self._events(payload, self._seconds(timeout), metadata, key), key)

    def complete_many(
        self,
        requests: Iterable[Prompt],
        /,
        *,
        timeout: float | None = None,
        request_id: str | UUID | None = None,
        allow_repeat: bool = False,
        **options: Unpack[CompletionOptions],
    ) -> list[Completion | AigenError]:
        """Return the answers to many requests, made concurrently, in request order.

        One that fails does not spoil the others: its place in the list holds the exception that `complete()` would have raised.

        Args:
            requests: 1 to 1,000 prompts, conversations or `CompletionRequest`, whose options win over those given here.
            timeout: Patience for all together in seconds; None: the client's.
            request_id: Item i is paid under `<request_id>/<i>`; None: a new UUID.
            allow_repeat: Allows second paid calls where the first outcome is unknown.
            options: What shapes all answers; see `CompletionOptions`. A preset named here is the task of all.

        Raises:
            AigenError: The batch as a whole was refused or lost.
        """
        context = self._context(requests, options)
        payload = _requests.batch_bytes(requests, options, context, self._service)
        key = self._request_id(request_id)
        metadata = _call.call_metadata(key, context, allow_repeat=allow_repeat)
        return _convert.batch_of(self._send(_call.BATCH, payload, timeout, metadata=metadata, request_id=key), key)

    def estimate(
        self, prompt_or_messages: Prompt, /, *, timeout: float | None = None, **options: Unpack[CompletionOptions]
    ) -> Estimate:
        """Return what a request would cost at most, by route, without a call to a provider."""
        context = self._context(prompt_or_messages, options)
        payload = _requests.estimate_bytes(prompt_or_messages, options, context, self._service)
        return self._send(_call.ESTIMATE, payload, timeout, metadata=(*context.once, *trace_headers()))

    def stats(
        self,
        *,
        period: Period | str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        time_zone: str = "",
        group_by: Sequence[GroupBy | str] = (),
        label_key: str = "",
        timeout: float | None = None,
        **where: Unpack[_queries.UsageFilter],
    ) -> Stats:
        """Return calls, tokens, cost and savings of a period.

        Args:
            period: "today", "week", "month" or "all"; not together with `start_time` or `end_time`.
            start_time: First moment, inclusive, with its time zone.
            end_time: Last moment, exclusive, with its time zone.
            time_zone: IANA name in which days begin; empty: the daemon's.
            group_by: Up to 3 of the words of `GroupBy`; empty: totals only.
            label_key: Label to group by, together with "label".
            timeout: Patience in seconds; None: the client's.
            where: Only calls that match all of provider, model, agent, service, session, phase, task and labels.
        """
        payload = _queries.stats_bytes(
            period=period,
            start_time=start_time,
            end_time=end_time,
            time_zone=time_zone,
            group_by=group_by,
            label_key=label_key,
            where=where,
        )
        return self._send(_call.STATS, payload, timeout)

    def ledger_entries(
        self,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        states: Sequence[AttemptState | str] = (),
        request_id: str = "",
        page_size: int = 0,
        timeout: float | None = None,
        **where: Unpack[_queries.UsageFilter],
    ) -> Iterator[LedgerEntry]:
        """Return an iterator over charges, newest first; further pages are fetched as it is read.

        Args:
            start_time: First moment of creation, inclusive, with its time zone.
            end_time: Last moment of creation, exclusive, with its time zone.
            states: Only entries in one of these states; empty: any.
            request_id: Only entries of this request id; empty: any.
            page_size: Entries a call; 0: the daemon's default.
            timeout: Patience for each page in seconds; None: the client's.
            where: Only calls that match all of provider, model, agent, service, session, phase, task and labels.
        """
        first = _queries.ledger_page(
            start_time=start_time, end_time=end_time, states=states, request_id=request_id, page_size=page_size, where=where
        )
        return self._pages(_call.LEDGER, first, timeout)

    def clear_cache(
        self, *, validate_only: bool = False, timeout: float | None = None, **where: Unpack[_queries.CacheFilter]
    ) -> ClearedCache:
        """Return how many entries were removed from the cache; without a filter that is all of them.

        Args:
            validate_only: Counts what would go and removes nothing.
            timeout: Patience in seconds; None: the client's.
            where: Only entries that match all of provider, model, agent, phase, service, namespace, older_than, key_prefix.
        """
        return self._send(_call.CLEAR, _queries.clear_bytes(validate_only=validate_only, where=where), timeout)

    def cache_stats(self, *, timeout: float | None = None) -> CacheStats:
        """Return how large the cache is and how well it does."""
        return self._send(_call.CACHE_STATS, b"", timeout)

    def cache_entries(
        self, *, page_size: int = 0, timeout: float | None = None, **where: Unpack[_queries.CacheFilter]
    ) -> Iterator[CacheEntry]:
        """Return an iterator over cache entries, newest first; filters as for `clear_cache()`."""
        return self._pages(_call.CACHE_ENTRIES, _queries.cache_page(page_size=page_size, where=where), timeout)

    def cache_entry(self, key: str | bytes, /, *, timeout: float | None = None) -> CacheEntry:
        """Return one cache entry with its answer; the key is raw or hexadecimal."""
        return self._send(_call.CACHE_ENTRY, _queries.entry_bytes(key), timeout)

    def prefix_decisions(
        self, *, provider: str = "", model: str = "", service: str = "", page_size: int = 0, timeout: float | None = None
    ) -> Iterator[PrefixDecision]:
        """Return an iterator over what was decided about the providers' prompt caches, latest first."""
        page = _queries.prefix_page(provider=provider, model=model, service=service, page_size=page_size)
        return self._pages(_call.PREFIXES, page, timeout)

    def models(
        self,
        *,
        provider: str = "",
        tier: ModelTier | str | None = None,
        capability: Capability | str | None = None,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> Iterator[Model]:
        """Return an iterator over the models that match, by provider and id."""
        first = _queries.model_page(provider=provider, tier=tier, capability=capability, page_size=page_size)
        return self._pages(_call.MODELS, first, timeout)

    def model(self, name: str, /, *, timeout: float | None = None) -> Model:
        """Return one model by id, alias, "provider/model" or agent."""
        return self._send(_call.MODEL, _queries.model_bytes(name), timeout)

    def service_policies(self, *, page_size: int = 0, timeout: float | None = None) -> Iterator[ServicePolicy]:
        """Return an iterator over the policies of the services that the daemon's settings name."""
        return self._pages(_call.POLICIES, _queries.policy_page(page_size=page_size), timeout)

    def service_policy(self, service: str, /, *, timeout: float | None = None) -> ServicePolicy:
        """Return which models a service may ask for, with what is known of them, and what holds where its requests don't say it.

        Raises:
            NotFound: The daemon's settings do not name the service: it may ask for any model.
        """
        return self._send(_call.POLICY, _queries.policy_bytes(service), timeout)

    def status(self, *, timeout: float | None = None) -> DaemonStatus:
        """Return how the daemon is."""
        return self._send(_call.STATUS, b"", timeout)

    def settings(self, *, timeout: float | None = None) -> tuple[Setting, ...]:
        """Return the daemon's settings in force, secrets hidden."""
        return self._send(_call.SETTINGS, b"", timeout)

    def drain(self, *, wait: timedelta | float | None = None, timeout: float | None = None) -> int:
        """Stop the daemon once the calls inside have ended; return how many provider calls are still under way.

        Args:
            wait: Longest time the daemon gives them, in seconds, up to one hour; None: its setting.
            timeout: Patience of this call, which returns at once; None: the client's.
        """
        return self._send(_call.DRAIN, _queries.drain_bytes(wait), timeout)
