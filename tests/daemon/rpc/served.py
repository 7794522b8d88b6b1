"""A daemon's front on a real gRPC server over the test's spine: what tests of `rpc/` call."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from aigen.v1 import (
    batch_job_pb2_grpc,
    budget_pb2_grpc,
    cache_pb2_grpc,
    completion_pb2,
    completion_pb2_grpc,
    daemon_pb2_grpc,
    message_pb2,
    model_pb2_grpc,
    usage_pb2_grpc,
)
from aigend.completion.deferral.batch_jobs import BatchJobs
from aigend.config import FlatSetting
from aigend.ledger.prices.published import PublishedPrices
from aigend.ledger.prices.refresh import PriceRefresher
from aigend.rpc.answer_codec import WireCodec
from aigend.rpc.batch_job import BatchJobServicer
from aigend.rpc.budget import BudgetServicer
from aigend.rpc.cache import CacheServicer
from aigend.rpc.completion import CompletionServicer
from aigend.rpc.corrections import CorrectionServicer
from aigend.rpc.daemon import DaemonServicer, DaemonState, ProviderReport, StatusReport
from aigend.rpc.doctor import DoctorServicer
from aigend.rpc.explain import ExplainServicer
from aigend.rpc.listener import Listener
from aigend.rpc.model import ModelServicer
from aigend.rpc.prices import PriceServicer
from aigend.rpc.report import ReportServicer
from aigend.rpc.request import reread_request
from aigend.rpc.usage import UsageServicer
from aigend.rpc.watch import WatchServicer
from aigend.scheduling.prompt_cache.decisions import Decisions
from aigend.telemetry.tracing import Tracer
from google.rpc import error_details_pb2, status_pb2

from tests.spine import Spine, spine


class FakeControl:
    """A daemon that can be asked how it is and told to stop."""

    def __init__(self, house: Spine) -> None:
        self.house = house
        self.drained: list[float | None] = []

    async def status(self) -> StatusReport:
        """Return made-up facts beside the ledger's own."""
        return StatusReport(
            version="1",
            process_id=os.getpid(),
            state=DaemonState.SERVING,
            start_time=self.house.clock.time(),
            socket_path="s",
            state_directory="d",
            cache_directory="c",
            in_flight=1,
            queued=2,
            detached=3,
            ledger_epoch=self.house.ledger.epoch,
            ledger_sequence=self.house.ledger.sequence,
            resident_bytes=4,
            providers=[ProviderReport(name="one", adapter="fake", loaded=True, in_flight=1)],
            budgets=self.house.ledger.budget_status(self.house.clock.time()),
            warnings=["a warning"],
        )

    def settings(self) -> Sequence[FlatSetting]:
        """Return one setting."""
        return [FlatSetting(key="cache.ttl", value_json='"1d"', origin="file")]

    def drain(self, timeout_s: float | None) -> int:
        """Take note."""
        self.drained.append(timeout_s)
        self.house.engine.drain()
        return 7


@dataclass
class Served:
    """A spine behind its gRPC front, and stubs to call it."""

    house: Spine
    control: FakeControl
    channel: grpc.aio.Channel
    completion: completion_pb2_grpc.CompletionServiceStub
    cache: cache_pb2_grpc.CacheServiceStub
    usage: usage_pb2_grpc.UsageServiceStub
    model: model_pb2_grpc.ModelServiceStub
    daemon: daemon_pb2_grpc.DaemonServiceStub
    tracer: Tracer
    budget: budget_pb2_grpc.BudgetServiceStub
    batch_job: batch_job_pb2_grpc.BatchJobServiceStub


@asynccontextmanager
async def served(folder: Path, **changes) -> AsyncIterator[Served]:
    """Serve a spine on a socket in `folder`."""
    async with spine(folder, **changes) as house:
        control, tracer = FakeControl(house), Tracer()

        def snapshot():
            return house.engine.snapshot

        refresher = PriceRefresher(
            PublishedPrices(), prices=lambda: snapshot().prices, settings=lambda: snapshot().settings.prices, clock=house.clock
        )
        jobs = BatchJobs(
            ledger=house.ledger,
            complete=house.engine.complete,
            cancel_line=house.deferred.cancel,
            read_request=reread_request,
            snapshot=snapshot,
            clock=house.clock,
        )
        await jobs.start()
        listener = Listener(
            batch_job=BatchJobServicer(jobs, snapshot, clock=house.clock),
            completion=CompletionServicer(house.engine, meter=house.meter, tracer=tracer, clock=house.clock),
            cache=CacheServicer(house.cache, WireCodec(), snapshot=snapshot, decisions=Decisions()),
            usage=UsageServicer(house.ledger, snapshot, clock=house.clock),
            corrections=CorrectionServicer(house.ledger, snapshot, clock=house.clock),
            reports=ReportServicer(house.ledger, snapshot, clock=house.clock),
            doctor=DoctorServicer(house.ledger, snapshot, clock=house.clock, decisions=Decisions()),
            explain=ExplainServicer(house.ledger, snapshot, refusals=house.engine.refusals, decisions=Decisions()),
            watch=WatchServicer(house.ledger, load=lambda: (2, 1), draining=lambda: house.engine.draining, clock=house.clock),
            prices=PriceServicer(snapshot, refresh=refresher.refresh, clock=house.clock),
            budget=BudgetServicer(house.ledger.budgets, snapshot),
            model=ModelServicer(snapshot, clock=house.clock),
            daemon=DaemonServicer(control),
            meter=house.meter,
        )
        socket = folder / "s"
        await listener.start(socket)
        options = (("grpc.max_metadata_size", 65_536), ("grpc.absolute_max_metadata_size", 131_072))
        async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
            yield Served(
                house,
                control,
                channel,
                completion_pb2_grpc.CompletionServiceStub(channel),
                cache_pb2_grpc.CacheServiceStub(channel),
                usage_pb2_grpc.UsageServiceStub(channel),
                model_pb2_grpc.ModelServiceStub(channel),
                daemon_pb2_grpc.DaemonServiceStub(channel),
                tracer,
                budget_pb2_grpc.BudgetServiceStub(channel),
                batch_job_pb2_grpc.BatchJobServiceStub(channel),
            )
        await listener.stop(0)
        await jobs.close()


def asked(prompt: str = "a question", **fields) -> completion_pb2.CompleteRequest:
    """Return a request for the first fake model."""
    return completion_pb2.CompleteRequest(**({"prompt": prompt, "model": "one/model-1"} | fields))


def said(text: str) -> message_pb2.Message:
    """Return one user message."""
    return message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text=text)])


@dataclass(frozen=True)
class Failure:
    """What a failed call brought back."""

    code: grpc.StatusCode
    reason: str
    metadata: dict[str, str]
    retry_after_s: float | None
    trailers: dict[str, str | bytes]
    text: str


def read_status(status: status_pb2.Status) -> tuple[str, dict[str, str], float | None]:
    """Return reason, facts and the wait of a status."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    delay = None
    for detail in status.details:
        if detail.Unpack(info):
            assert info.domain == "aigend"
        elif detail.Unpack(retry):
            delay = retry.retry_delay.ToNanoseconds() / 1e9
    return info.reason, dict(info.metadata), delay


async def failure(call) -> Failure:
    """Await a call that must fail and return how it did."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        trailers = {key: value for key, value in error.trailing_metadata() or ()}  # noqa: C416 - older gRPC gives no mapping
        status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
        return Failure(error.code(), *read_status(status), trailers, error.details() or "")
    raise AssertionError("the call did not fail")
