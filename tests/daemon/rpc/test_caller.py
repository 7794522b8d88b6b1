"""Metadata beside a request: read as sent, checked before anything is done with it."""

import uuid

import pytest
from aigen.v1 import completion_pb2
from aigend.errors import DomainError
from aigend.rpc.caller import (
    ACCOUNTING,
    REQUEST_ID,
    TRACEPARENT,
    Sender,
    check_request_id,
    make_caller,
    read_metadata,
    unpack_accounting,
)


def test_what_concerns_us_is_read():
    """Id, account and trace are taken out of all that a call carries."""
    metadata = (("user-agent", "x"), (REQUEST_ID, "id"), (ACCOUNTING, b"a"), (TRACEPARENT, "t"))
    assert read_metadata(metadata) == Sender("id", b"a", "t")
    assert read_metadata(()) == Sender()


def test_an_id_is_made_where_none_was_sent():
    """It is a UUID."""
    made = check_request_id("")
    assert str(uuid.UUID(made)) == made
    assert check_request_id("mine") == "mine"


@pytest.mark.parametrize("bad", ["x" * 129, "a\nb"])
def test_bad_ids_are_refused(bad: str):
    """Too long, or not printable."""
    with pytest.raises(DomainError) as refused:
        check_request_id(bad)
    assert refused.value.metadata["field"] == REQUEST_ID


@pytest.mark.parametrize(
    ("accounting", "field"),
    [
        ({"session": "x" * 129}, "accounting.session"),
        ({"task": "a\tb"}, "accounting.task"),
        ({"labels": {str(number): "" for number in range(17)}}, "accounting.labels"),
        ({"labels": {"": "x"}}, "accounting.labels['']"),
        ({"labels": {"key": "x" * 65}}, "accounting.labels['key']"),
    ],
)
def test_bad_accounts_are_refused_by_field(accounting: dict, field: str):
    """Each bound names what broke it."""
    with pytest.raises(DomainError) as refused:
        unpack_accounting(completion_pb2.Accounting(**accounting).SerializeToString())
    assert refused.value.metadata["field"] == field


def test_account_that_is_no_message_is_refused():
    """Bytes that can't be read are not taken for an empty account."""
    with pytest.raises(DomainError) as refused:
        unpack_accounting(b"\xff\xff")
    assert refused.value.metadata["field"] == ACCOUNTING


def test_caller_is_made_of_both():
    """Scope, id, account and deadline stand together."""
    account = completion_pb2.Accounting(session="s", labels={"a": "b"}, allow_repeat=True).SerializeToString()
    caller = make_caller(Sender("id", account, ""), digest_of=lambda: b"d", deadline=3.0, traceparent="00-x")
    assert (caller.scope, caller.request_id, caller.request_digest, caller.deadline, caller.traceparent) == (
        "local",
        "id",
        b"d",
        3.0,
        "00-x",
    )
    assert (caller.accounting.session, caller.accounting.labels, caller.accounting.allow_repeat) == ("s", {"a": "b"}, True)
