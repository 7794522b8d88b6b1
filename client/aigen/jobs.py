"""Batch jobs as a caller sees them; frozen values without protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from aigen.errors import AigenError
from aigen.results import Completion


class BatchJobState(StrEnum):
    """Where a batch job stands."""

    RUNNING = "running"  # requests wait or are under way
    ENDED = "ended"  # every request has its result
    CANCELLED = "cancelled"  # likewise, after somebody cancelled it


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJob:
    """A batch job as it stands; its id is the request id that it was created under."""

    id: str
    state: BatchJobState | None
    create_time: datetime
    end_time: datetime | None  # when its last request ended; None: it runs
    complete_by: datetime | None  # when all must be answered; None: nobody said
    item_count: int
    waiting_count: int  # requests that wait for company or for their turn
    submitted_count: int  # requests that lie in a provider's job
    answered_count: int
    failed_count: int
    cost_usd_nanos: int  # until now, nano-dollars
    saved_usd_nanos: int  # by the batch price until now, nano-dollars
    session: str
    task: str
    labels: Mapping[str, str]

    @property
    def ended_count(self) -> int:
        """Requests that have their result."""
        return self.answered_count + self.failed_count


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJobResult:
    """What became of one request of a job: exactly one of `completion` and `error` is there."""

    index: int  # its position in the job, from 0
    request_id: str
    completion: Completion | None = None
    error: AigenError | None = None
