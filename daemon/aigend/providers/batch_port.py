"""What the spine asks of a provider's own batch API: hand lines in as one job, find it again, follow it, fetch, cancel.

How requests and answers are spelled is the adapters' business; when a job is handed in, polled and settled is its caller's.
"""

from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from aigend.providers.port import FaultKind, ProviderCall, ProviderFault, ProviderReply
from aigend.types import CompletionRequest

NOT_ACCEPTED = frozenset((FaultKind.UNREACHABLE, FaultKind.REJECTED, FaultKind.AUTH, FaultKind.RATE_LIMITED))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One request of a job."""

    custom_id: str  # ours, unique for ever: 1 to 64 letters, digits, "_" and "-"
    call: ProviderCall


class BatchState(StrEnum):
    """Where a job stands with its provider."""

    RUNNING = "running"
    ENDED = "ended"  # every line was run, with or without success
    FAILED = "failed"  # the provider refused the whole job: nothing was run, nothing is charged
    EXPIRED = "expired"  # its window has passed; lines that were run have results
    CANCELLED = "cancelled"  # likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """How far a job is."""

    state: BatchState
    total: int  # lines; 0 while the provider has not counted them
    done: int  # lines answered
    failed: int  # lines that have an error, were cancelled or expired
    expire_time: float | None  # when the provider gives up, unix seconds; None where it does not say
    message: str = ""  # why the job failed, in words that are safe to log


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What became of one line."""

    custom_id: str
    outcome: ProviderReply | ProviderFault | None  # None: never run (expired, cancelled), for certain not charged


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """What one job may hold."""

    max_lines: int
    max_bytes: int  # of all lines together, as uploaded
    window_s: float  # the provider ends or expires a job within this time


class Found(StrEnum):
    """What a search for a job says."""

    FOUND = "found"
    ABSENT = "absent"  # the provider has no such job: it may be handed in
    UNDECIDED = "undecided"  # a job may be ours, but this can't be seen before it has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSearch:
    """The end of a search for a job whose id was never stored."""

    found: Found
    job_id: str = ""  # the provider's; empty unless found


def may_be_accepted(fault: ProviderFault) -> bool:
    """Return whether a failed `submit` may have made a job all the same: such a job is searched for, never handed in again."""
    return fault.kind not in NOT_ACCEPTED


class BatchProvider(Protocol):
    """The batch API of an account with a provider."""

    name: str
    limits: BatchLimits

    def check(self, request: CompletionRequest) -> None:
        """Return if a line can hold the whole request.

        Raises:
            DomainError: CAPABILITY_MISSING or INVALID_REQUEST, naming the field that this batch API can't carry.
        """
        ...

    def size_of(self, line: BatchLine) -> int:
        """Return a line's length as uploaded, in bytes."""
        ...

    async def submit(self, lines: Sequence[BatchLine], *, mark: str) -> str:
        """Hand the lines in as one job and return the provider's id of it.

        Args:
            lines: At least one, within `limits`, custom ids all different, all for the same model.
            mark: Name of the job by which `find` knows it again, 1 to 64 letters, digits, "_" and "-", unique for ever.

        Raises:
            ProviderFault: No id came back; `may_be_accepted` says whether there may be a job nevertheless.
        """
        ...

    async def find(self, mark: str, custom_ids: Collection[str], *, since: float) -> BatchSearch:
        """Return what the provider knows of a job that was handed in without an answer.

        A request that is still under way when it is asked may make a job later: ABSENT is believed only after a while.

        Args:
            mark: As given to `submit`.
            custom_ids: Those of all its lines.
            since: When `submit` began, unix seconds; earlier jobs are not looked at.

        Raises:
            ProviderFault: The provider did not say.
        """
        ...

    async def progress(self, job_id: str) -> BatchProgress:
        """Return how far a job is.

        Raises:
            ProviderFault: The provider did not say; REJECTED with status 404 where it has no such job.
        """
        ...

    def results(self, job_id: str) -> AsyncGenerator[BatchResult, None]:
        """Yield what became of each line of a job that has ended, in any order, read bit by bit.

        A line that does not appear was not run, unless the reading ends with a fault: then it may have been.

        Raises:
            ProviderFault: They did not come whole; what was yielded holds, and asking again yields it again.
        """
        ...

    async def cancel(self, job_id: str) -> None:
        """Ask the provider to stop a job; lines that were run by then keep their results.

        A job that has ended already is left as it is, without an error.

        Raises:
            ProviderFault: The provider did not take the request.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
