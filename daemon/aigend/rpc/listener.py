"""The gRPC server on its unix socket: all services, health and reflection."""

import os
from pathlib import Path
from typing import Any

import grpc
from aigen.v1 import batch_job_pb2, budget_pb2, cache_pb2, completion_pb2, daemon_pb2, model_pb2, usage_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from aigend.completion.ports import CallMeter
from aigend.rpc.batch_job import BatchJobServicer
from aigend.rpc.budget import BudgetServicer
from aigend.rpc.cache import CacheServicer
from aigend.rpc.completion import CompletionServicer
from aigend.rpc.corrections import CorrectionServicer
from aigend.rpc.daemon import DaemonServicer
from aigend.rpc.doctor import DoctorServicer
from aigend.rpc.explain import ExplainServicer
from aigend.rpc.model import ModelServicer
from aigend.rpc.prices import PriceServicer
from aigend.rpc.report import ReportServicer
from aigend.rpc.serving import Guard, method, service
from aigend.rpc.usage import UsageServicer
from aigend.rpc.watch import WatchServicer

TRANSPORT_BYTES = 34_603_008  # 33 MiB: ours is 32, so that our own error arrives and not the transport's
METADATA_BYTES = 65_536  # above the half of the absolute bound calls are refused by chance
SOCKET_UMASK = 0o177
SERVICES = tuple(
    f"aigen.v1.{name}"
    for name in (
        "CompletionService",
        "BatchJobService",
        "CacheService",
        "UsageService",
        "BudgetService",
        "ModelService",
        "DaemonService",
    )
)


class Listener:
    """Serves the contract on one unix socket.

    Args:
        completion: Handles CompletionService,
        explain: and what became of its calls.
        batch_job: Handles BatchJobService.
        cache: Handles CacheService.
        usage: Handles UsageService, its half that reads,
        corrections: its half that corrects,
        reports: its half that tells all,
        doctor: its half that examines,
        watch: and its live view.
        model: Handles ModelService, its half about models,
        prices: and its half about prices.
        budget: Handles BudgetService.
        daemon: Handles DaemonService.
        meter: Counts failures.
    """

    def __init__(
        self,
        *,
        completion: CompletionServicer,
        explain: ExplainServicer,
        batch_job: BatchJobServicer,
        cache: CacheServicer,
        usage: UsageServicer,
        corrections: CorrectionServicer,
        reports: ReportServicer,
        doctor: DoctorServicer,
        watch: WatchServicer,
        model: ModelServicer,
        budget: BudgetServicer,
        prices: PriceServicer,
        daemon: DaemonServicer,
        meter: CallMeter,
    ) -> None:
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_OPTIONS)
        guard = Guard(meter)
        self._server.add_generic_rpc_handlers(
            (
                _completion_service(guard, completion, explain),
                _batch_job_service(guard, batch_job),
                _cache_service(guard, cache),
                _usage_service(guard, usage, corrections, reports, doctor=doctor, watch=watch),
                _model_service(guard, model, prices),
                _budget_service(guard, budget),
                _daemon_service(guard, daemon),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self, socket: Path) -> None:
        """Bind the socket, mode 0600, in place of an old one, and serve; whoever calls holds the lock beside it.

        Raises:
            OSError: The socket can't be bound.
        """
        socket.unlink(missing_ok=True)  # noqa: ASYNC240 - one call, before anything is served
        before = os.umask(SOCKET_UMASK)
        try:
            self._server.add_insecure_port(f"unix:{socket}")
            await self._server.start()
        except RuntimeError as error:
            raise OSError(f"socket {socket} can't be bound: {error}") from error
        finally:
            os.umask(before)
        await self._say(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls at once and wait for running ones, at most `grace_s` seconds."""
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.stop(grace_s)

    async def _say(self, status: Any) -> None:
        for name in ("", *SERVICES):
            await self._health.set(name, status)


_OPTIONS = (
    ("grpc.max_receive_message_length", TRANSPORT_BYTES),
    ("grpc.max_send_message_length", TRANSPORT_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.max_metadata_size", METADATA_BYTES),  # what Accounting may hold is more than the default of 8 KiB
    ("grpc.absolute_max_metadata_size", 2 * METADATA_BYTES),
)


def _completion_service(guard: Guard, servicer: CompletionServicer, explain: ExplainServicer) -> grpc.GenericRpcHandler:
    return service(
        "aigen.v1.CompletionService",
        guard,
        unary={
            "Complete": servicer.complete,
            "BatchComplete": servicer.batch_complete,
            "EstimateCost": servicer.estimate_cost,
            "ExplainCompletion": method(completion_pb2.ExplainCompletionRequest, explain.explain_completion),
        },
        streaming={"StreamComplete": servicer.stream_complete},
    )


def _batch_job_service(guard: Guard, servicer: BatchJobServicer) -> grpc.GenericRpcHandler:
    return service(
        "aigen.v1.BatchJobService",
        guard,
        unary={
            "CreateBatchJob": servicer.create_batch_job,
            "GetBatchJob": method(batch_job_pb2.GetBatchJobRequest, servicer.get_batch_job),
            "ListBatchJobs": method(batch_job_pb2.ListBatchJobsRequest, servicer.list_batch_jobs),
            "CancelBatchJob": method(batch_job_pb2.CancelBatchJobRequest, servicer.cancel_batch_job),
        },
        streaming={"StreamBatchJobResults": servicer.stream_batch_job_results},
    )


def _cache_service(guard: Guard, servicer: CacheServicer) -> grpc.GenericRpcHandler:
    return service(
        "aigen.v1.CacheService",
        guard,
        unary={
            "GetCacheStats": method(cache_pb2.GetCacheStatsRequest, servicer.get_cache_stats),
            "ListCacheEntries": method(cache_pb2.ListCacheEntriesRequest, servicer.list_cache_entries),
            "GetCacheEntry": method(cache_pb2.GetCacheEntryRequest, servicer.get_cache_entry),
            "ClearCache": method(cache_pb2.ClearCacheRequest, servicer.clear_cache),
            "ListPrefixDecisions": method(cache_pb2.ListPrefixDecisionsRequest, servicer.list_prefix_decisions),
        },
    )


def _usage_service(
    guard: Guard,
    servicer: UsageServicer,
    corrections: CorrectionServicer,
    reports: ReportServicer,
    *,
    doctor: DoctorServicer,
    watch: WatchServicer,
) -> grpc.GenericRpcHandler:
    return service(
        "aigen.v1.UsageService",
        guard,
        unary={
            "GetStats": method(usage_pb2.GetStatsRequest, servicer.get_stats),
            "ListLedgerEntries": method(usage_pb2.ListLedgerEntriesRequest, servicer.list_ledger_entries),
            "RecordUsage": method(usage_pb2.RecordUsageRequest, corrections.record_usage),
            "SettleLedgerEntry": method(usage_pb2.SettleLedgerEntryRequest, corrections.settle_ledger_entry),
            "ReleaseLedgerEntry": method(usage_pb2.ReleaseLedgerEntryRequest, corrections.release_ledger_entry),
            "RepriceLedger": method(usage_pb2.RepriceLedgerRequest, corrections.reprice_ledger),
            "GenerateReport": method(usage_pb2.GenerateReportRequest, reports.generate_report),
            "DiagnosePromptCache": method(usage_pb2.DiagnosePromptCacheRequest, doctor.diagnose_prompt_cache),
            "ListLedgerArchives": method(usage_pb2.ListLedgerArchivesRequest, doctor.list_ledger_archives),
        },
        streaming={"ExportLedger": reports.export_ledger, "WatchUsage": watch.watch_usage},
    )


def _model_service(guard: Guard, servicer: ModelServicer, prices: PriceServicer) -> grpc.GenericRpcHandler:
    return service(
        "aigen.v1.ModelService",
        guard,
        unary={
            "ListModels": method(model_pb2.ListModelsRequest, servicer.list_models),
            "GetModel": method(model_pb2.GetModelRequest, servicer.get_model),
            "ListServicePolicies": method(model_pb2.ListServicePoliciesRequest, servicer.list_service_policies),
            "GetServicePolicy": method(model_pb2.GetServicePolicyRequest, servicer.get_service_policy),
            "ListPrices": method(model_pb2.ListPricesRequest, prices.list_prices),
            "RefreshPrices": method(model_pb2.RefreshPricesRequest, prices.refresh_prices),
        },
    )


def _daemon_service(guard: Guard, servicer: DaemonServicer) -> grpc.GenericRpcHandler:
    return service(
        "aigen.v1.DaemonService",
        guard,
        unary={
            "GetStatus": method(daemon_pb2.GetStatusRequest, servicer.get_status),
            "GetSettings": method(daemon_pb2.GetSettingsRequest, servicer.get_settings),
            "Drain": method(daemon_pb2.DrainRequest, servicer.drain),
        },
    )


def _budget_service(guard: Guard, servicer: BudgetServicer) -> grpc.GenericRpcHandler:
    return service(
        "aigen.v1.BudgetService",
        guard,
        unary={
            "ListBudgets": method(budget_pb2.ListBudgetsRequest, servicer.list_budgets),
            "GetBudget": method(budget_pb2.GetBudgetRequest, servicer.get_budget),
            "SetBudget": method(budget_pb2.SetBudgetRequest, servicer.set_budget),
            "DeleteBudget": method(budget_pb2.DeleteBudgetRequest, servicer.delete_budget),
            "GetBudgetStatus": method(budget_pb2.GetBudgetStatusRequest, servicer.get_budget_status),
            "PauseBudget": method(budget_pb2.PauseBudgetRequest, servicer.pause_budget),
            "ResumeBudget": method(budget_pb2.ResumeBudgetRequest, servicer.resume_budget),
            "ListAlerts": method(budget_pb2.ListAlertsRequest, servicer.list_alerts),
        },
        streaming={"WatchAlerts": servicer.watch_alerts},
    )
