"""Reasons as statuses: every one has a code, and what must not be sent again says so."""

import pytest
from aigend.errors import DomainError, Reason
from aigend.rpc.status import CODES, DETAILS, PUSHBACK, as_domain_error, status_proto, trailers
from google.rpc import error_details_pb2, status_pb2


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_code_and_info(reason: Reason):
    """One ErrorInfo with our domain, the reason and its facts."""
    status = status_proto(DomainError(reason, "a sentence", limit=3))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, status.message) == (CODES[reason].value[0], "a sentence")
    assert (info.reason, info.domain, dict(info.metadata)) == (reason, "aigend", {"limit": "3"})


def test_retry_delay_comes_along_where_waiting_helps():
    """RetryInfo holds the seconds exactly."""
    status = status_proto(DomainError(Reason.OVERLOADED, "full", retry_after_s=1.5))
    info = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(info)
    assert (info.retry_delay.seconds, info.retry_delay.nanos) == (1, 500_000_000)


@pytest.mark.parametrize("reason", list(Reason))
def test_only_draining_may_be_retried_by_the_transport(reason: Reason):
    """Every other UNAVAILABLE carries the pushback."""
    told = trailers(DomainError(reason, "text"))
    assert (PUSHBACK in told) == (reason is Reason.PROVIDER_UNAVAILABLE)
    assert status_pb2.Status.FromString(dict(told)[DETAILS]).message == "text"


def test_defect_keeps_its_details_for_the_log(caplog: pytest.LogCaptureFixture):
    """The caller gets an id, the log the traceback; an error of ours stays itself."""
    error = as_domain_error(ValueError("private"))
    assert (error.reason, "private" in error.text) == (Reason.DAEMON_FAULT, False)
    assert caplog.records[0].fault_id == error.metadata["fault_id"]
    own = DomainError(Reason.NOT_FOUND, "x")
    assert as_domain_error(own) is own
