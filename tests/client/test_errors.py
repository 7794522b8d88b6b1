"""Errors: one tree, dispatched by reason, else by code, never by text."""

import pickle
import re

import aigen
import grpc
import pytest
from aigen import errors
from aigen.testing import CODE_OF, FakeDaemon
from google.rpc import error_details_pb2, status_pb2

from tests.client.failed import Failed

EXPECTED = {
    "INVALID_REQUEST": aigen.InvalidRequest,
    "PROMPT_TOO_LARGE": aigen.InvalidRequest,
    "UNKNOWN_MODEL": aigen.UnknownModel,
    "UNKNOWN_AGENT": aigen.UnknownModel,
    "CONTEXT_TOO_LONG": aigen.InvalidRequest,
    "REQUEST_ID_REUSED": aigen.InvalidRequest,
    "MODEL_NOT_ALLOWED": aigen.ModelNotAllowed,
    "CAPABILITY_MISSING": aigen.PreconditionFailed,
    "PROVIDER_NOT_CONFIGURED": aigen.PreconditionFailed,
    "PRICE_UNKNOWN": aigen.PreconditionFailed,
    "UNAUTHENTICATED": aigen.AccessDenied,
    "ROLE_REQUIRED": aigen.AccessDenied,
    "BUDGET_EXCEEDED": aigen.BudgetExceeded,
    "BUDGET_PAUSED": aigen.BudgetExceeded,
    "OVERLOADED": aigen.Overloaded,
    "RATE_LIMITED": aigen.RateLimited,
    "NOT_CACHED": aigen.NotFound,
    "NOT_FOUND": aigen.NotFound,
    "PROVIDER_UNAVAILABLE": aigen.ProviderUnavailable,
    "PROVIDER_TIMEOUT": aigen.ProviderUnavailable,
    "PROVIDER_REFUSED": aigen.ProviderRefused,
    "OUTCOME_UNKNOWN": aigen.OutcomeUnknown,
    "REPLY_GONE": aigen.OutcomeUnknown,
    "JOB_CANCELLED": aigen.RequestRefused,
    "STORAGE_FULL": aigen.DaemonFault,
    "STORAGE_DAMAGED": aigen.DaemonFault,
    "DAEMON_FAULT": aigen.DaemonFault,
    "DRAINING": aigen.DaemonUnavailable,
}
BY_CODE = {
    "INVALID_ARGUMENT": aigen.InvalidRequest,
    "OUT_OF_RANGE": aigen.InvalidRequest,
    "NOT_FOUND": aigen.NotFound,
    "PERMISSION_DENIED": aigen.AccessDenied,
    "UNAUTHENTICATED": aigen.AccessDenied,
    "FAILED_PRECONDITION": aigen.PreconditionFailed,
    "UNIMPLEMENTED": aigen.PreconditionFailed,
    "ALREADY_EXISTS": aigen.RequestRefused,
    "RESOURCE_EXHAUSTED": aigen.LimitReached,
    "ABORTED": aigen.OutcomeUnknown,
    "DATA_LOSS": aigen.DaemonFault,
    "INTERNAL": aigen.DaemonFault,
    "UNKNOWN": aigen.DaemonFault,
    "DEADLINE_EXCEEDED": aigen.DeadlineExceeded,
    "UNAVAILABLE": aigen.DaemonUnavailable,
    "CANCELLED": aigen.DaemonUnavailable,
}


def test_every_reason_of_the_contract_is_mapped():
    """No reason of the contract falls back to its code, and the tests know them all."""
    assert set(errors._BY_REASON) == set(EXPECTED) == set(CODE_OF)


@pytest.mark.parametrize("reason", sorted(set(EXPECTED) - {"DRAINING"}))
def test_reason_arrives_as_its_exception(daemon: FakeDaemon, client: aigen.Client, reason: str):
    """A reason raised by the daemon arrives as exactly its exception, with text, code, metadata, delay and request id."""
    daemon.fail(reason, "said for people", retry_after_s=1.5, limit_usd_nanos=10)
    with pytest.raises(aigen.AigenError) as caught:
        client.complete("hello", request_id="an-id")
    error = caught.value
    assert type(error) is EXPECTED[reason]
    assert (error.reason, error.text, error.code, error.request_id) == (reason, "said for people", CODE_OF[reason].name, "an-id")
    assert (error.metadata, error.retry_after_s) == ({"limit_usd_nanos": "10"}, 1.5)
    assert str(error) == f"{reason}: said for people"


@pytest.mark.parametrize("reason", ["BUDGET_EXCEEDED", "PROVIDER_UNAVAILABLE", "INVALID_REQUEST", "OUTCOME_UNKNOWN"])
async def test_reason_arrives_as_its_exception_in_the_async_client(daemon: FakeDaemon, reason: str):
    """The async client maps as the sync one does."""
    daemon.fail(reason)
    async with aigen.AsyncClient(daemon.socket) as client:
        with pytest.raises(EXPECTED[reason]) as caught:
            await client.complete("hello")
    assert type(caught.value) is EXPECTED[reason]
    assert caught.value.reason == reason


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_unknown_reason_is_mapped_by_code(code: str):
    """A reason of a newer daemon is kept as text and its code decides the class."""
    info = error_details_pb2.ErrorInfo(domain="aigend", reason="FROM_THE_FUTURE", metadata={"a": "b"})
    status = status_pb2.Status(code=grpc.StatusCode[code].value[0], message="new")
    status.details.add().Pack(info)
    error = errors.from_rpc_error(Failed(grpc.StatusCode[code], (("grpc-status-details-bin", status.SerializeToString()),)))
    assert type(error) is BY_CODE[code]
    assert (error.reason, error.metadata) == ("FROM_THE_FUTURE", {"a": "b"})


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_error_without_details_is_mapped_by_code(code: str):
    """What the transport says has a code and no reason."""
    error = errors.from_rpc_error(Failed(grpc.StatusCode[code]), request_id="i")
    assert type(error) is BY_CODE[code]
    assert (error.reason, error.code, error.request_id) == ("", code, "i")
    assert ("timeout passed" if code == "DEADLINE_EXCEEDED" else "told by the transport") in str(error)


def test_reason_of_another_domain_does_not_count():
    """A proxy's BUDGET_EXCEEDED is not ours: the code decides and no reason is shown."""
    status = status_pb2.Status(code=13, message="m")
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain="example.org", reason="BUDGET_EXCEEDED"))
    error = errors.from_status(status)
    assert (type(error), error.reason) == (aigen.DaemonFault, "")


@pytest.mark.parametrize("trailer", [b"\xff\xff not a status", "text"])
def test_damaged_details_are_as_good_as_none(trailer):
    """A trailer that is no Status does not hide the error."""
    error = errors.from_rpc_error(Failed(grpc.StatusCode.INTERNAL, (("grpc-status-details-bin", trailer),)))
    assert (type(error), error.reason) == (aigen.DaemonFault, "")


def test_unknown_number_of_a_code_is_a_daemon_fault():
    """A status code that gRPC does not know is read as UNKNOWN, and a reason in front of the text is not repeated."""
    status = status_pb2.Status(code=99, message="DAEMON_FAULT: oops")
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain="aigend", reason="DAEMON_FAULT"))
    error = errors.from_status(status)
    assert (error.code, str(error)) == ("UNKNOWN", "DAEMON_FAULT: oops")


def test_python_programs_may_catch_what_they_know():
    """InvalidRequest is a ValueError, NotFound a LookupError, DeadlineExceeded a TimeoutError, ClientClosed a RuntimeError."""
    assert issubclass(aigen.InvalidRequest, ValueError)
    assert issubclass(aigen.NotFound, LookupError)
    assert issubclass(aigen.DeadlineExceeded, TimeoutError)
    assert issubclass(aigen.ClientClosed, RuntimeError)


@pytest.mark.parametrize("kind", [aigen.DeadlineExceeded, aigen.InvalidRequest, aigen.BudgetExceeded, aigen.ClientClosed])
def test_errors_cross_processes_whole(kind: type[aigen.AigenError]):
    """An error that a worker process raised keeps its facts when it is pickled."""
    error = kind("text", reason="R", code="C", metadata={"field": "x"}, retry_after_s=2.0, request_id="i")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again), again.__dict__) == (kind, "R: text", error.__dict__)


def test_the_tree_is_drawn_as_it_is():
    """The tree in the module's docstring holds every exception under the one it inherits from."""
    drawn = {}
    path: list[str] = []
    for line in errors.__doc__.split("```")[1].strip().splitlines():
        match = re.match(r"([│├└─ ]*)(\w+)", line)
        depth = len(match[1]) // 4
        path[depth:] = [match[2]]
        drawn[match[2]] = path[depth - 1] if depth else None
    real = {n: k for n, k in vars(errors).items() if isinstance(k, type) and issubclass(k, aigen.AigenError)}
    assert set(drawn) == set(real)
    assert all(parent is None or real[parent] in real[name].__bases__ for name, parent in drawn.items())
