"""DaemonService: how the daemon is, its settings, and how it is stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from aigen.v1 import daemon_pb2 as pb

from aigend.config import FlatSetting
from aigend.errors import invalid
from aigend.ledger.budgets.book import label_of
from aigend.ledger.entries import BudgetState
from aigend.routing.health import CircuitReport, CircuitState
from aigend.rpc.enums import EnumPair
from aigend.rpc.times import duration, seconds_of, timestamp

MAX_DRAIN_S = 3_600.0


class DaemonState(StrEnum):
    """Where the daemon stands."""

    SERVING = "serving"
    CACHE_ONLY = "cache_only"
    DRAINING = "draining"


STATE = EnumPair(DaemonState, pb.DaemonState.DESCRIPTOR, "DAEMON_STATE")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReport:
    """One configured provider."""

    name: str
    adapter: str
    loaded: bool
    in_flight: int
    queued: int = 0
    slots: int = 0  # that it may have taken now
    keys: Sequence[CircuitReport] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """How the daemon is."""

    version: str
    process_id: int
    state: DaemonState
    start_time: float  # wall clock
    socket_path: str
    state_directory: str
    cache_directory: str
    in_flight: int
    queued: int
    detached: int
    ledger_epoch: int
    ledger_sequence: int
    resident_bytes: int
    providers: Sequence[ProviderReport]
    budgets: Sequence[BudgetState]
    warnings: Sequence[str]
    deferred_waiting: int = 0  # deferred calls that have not left
    deferred_submitted: int = 0  # deferred calls in a provider's job
    open_uploads: int = 0  # jobs at providers
    open_batch_jobs: int = 0  # jobs of callers
    intake_waiting: int = 0  # requests of taken files without a result


class Control(Protocol):
    """What the daemon lets itself be asked."""

    async def status(self) -> StatusReport:
        """Return how the daemon is."""
        ...

    def settings(self) -> Sequence[FlatSetting]:
        """Return the settings in force, secrets hidden."""
        ...

    def drain(self, timeout_s: float | None) -> int:
        """Begin to stop and return how many provider calls are under way; None waits as long as the settings say."""
        ...


class DaemonServicer:
    """Shows and stops the daemon.

    Args:
        control: The daemon.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    async def get_status(self, _: pb.GetStatusRequest) -> pb.GetStatusResponse:
        """Say how the daemon is."""
        return _pack_status(await self._control.status())

    async def get_settings(self, _: pb.GetSettingsRequest) -> pb.GetSettingsResponse:
        """Return the settings in force."""
        flat = self._control.settings()
        return pb.GetSettingsResponse(settings=[pb.Setting(key=s.key, value_json=s.value_json, origin=s.origin) for s in flat])

    async def drain(self, request: pb.DrainRequest) -> pb.DrainResponse:
        """Begin to stop."""
        return pb.DrainResponse(in_flight_count=self._control.drain(_timeout(request)))


def _timeout(request: pb.DrainRequest) -> float | None:
    if not request.HasField("timeout"):
        return None
    seconds = seconds_of(request.timeout)
    if not 0 <= seconds <= MAX_DRAIN_S:
        raise invalid("timeout", f"{seconds} s", f"0 to {MAX_DRAIN_S} s")
    return seconds


def _pack_status(report: StatusReport) -> pb.GetStatusResponse:
    return pb.GetStatusResponse(
        version=report.version,
        process_id=report.process_id,
        state=STATE.pack(report.state),
        start_time=timestamp(report.start_time),
        socket_path=report.socket_path,
        state_directory=report.state_directory,
        cache_directory=report.cache_directory,
        in_flight_count=report.in_flight,
        queued_count=report.queued,
        detached_count=report.detached,
        ledger_epoch=report.ledger_epoch,
        ledger_sequence=report.ledger_sequence,
        resident_bytes=report.resident_bytes,
        providers=[_pack_provider(provider) for provider in report.providers],
        budgets=[pack_budget(budget) for budget in report.budgets],
        warnings=report.warnings,
        deferred_waiting_count=report.deferred_waiting,
        deferred_submitted_count=report.deferred_submitted,
        open_upload_count=report.open_uploads,
        open_batch_job_count=report.open_batch_jobs,
        intake_waiting_count=report.intake_waiting,
    )


def _pack_provider(report: ProviderReport) -> pb.ProviderStatus:
    return pb.ProviderStatus(
        name=report.name,
        adapter=report.adapter,
        loaded=report.loaded,
        in_flight_count=report.in_flight,
        queued_count=report.queued,
        slot_count=report.slots,
        keys=[_pack_key(key) for key in report.keys],
    )


def _pack_key(report: CircuitReport) -> pb.ProviderKeyStatus:
    return pb.ProviderKeyStatus(
        number=report.key.number,
        circuit=report.state,
        failure_count=report.failures,
        refused=report.refused,
        retry_delay=None if report.state is CircuitState.CLOSED else duration(report.retry_s),
    )


def pack_budget(state: BudgetState) -> pb.BudgetStatus:
    """Return the message of one budget in one window."""
    return pb.BudgetStatus(
        name=label_of(state.budget, state.key, per_value=state.per_value),
        window=state.window,
        limit_usd_nanos=state.limit_nanos,
        spent_usd_nanos=state.spent_nanos,
        reserved_usd_nanos=state.reserved_nanos,
        action=state.action,
        reset_time=None if state.reset_time is None else timestamp(state.reset_time),
    )
