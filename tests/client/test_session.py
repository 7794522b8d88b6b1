"""Sessions: they label the calls inside, nest, follow tasks, and reach threads where they are handed over."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import aigen
import pytest
from aigen.testing import FakeCall, FakeDaemon


def account(call: FakeCall) -> tuple[str, str, dict[str, str]]:
    """Return session, task and labels of a call."""
    return call.accounting.session, call.accounting.task, dict(call.accounting.labels)


def test_session_labels_the_calls_inside(daemon: FakeDaemon, client: aigen.Client):
    """Service and phase go into the question; session, task and labels travel beside it; outside nothing is left."""
    with client.session("run-1", service="aigenflow", phase=2, task="outline", labels={"team": "a"}):
        client.complete("hi")
    client.complete("hi")
    inside, outside = daemon.calls
    assert account(inside) == ("run-1", "outline", {"team": "a"})
    assert (inside.request.service, inside.request.phase) == ("aigenflow", "2")
    assert "aigen-accounting-bin" not in outside.metadata
    assert outside.request.service == outside.request.phase == ""


def test_accounting_is_no_part_of_the_question(daemon: FakeDaemon, client: aigen.Client):
    """The same question in two sessions is the same bytes."""
    for name in ("run-1", "run-2"):
        with client.session(name, labels={"n": name}):
            client.complete("hi", model="m")
    assert daemon.calls[0].payload == daemon.calls[1].payload
    assert daemon.calls[0].metadata["aigen-accounting-bin"] != daemon.calls[1].metadata["aigen-accounting-bin"]


def test_sessions_nest(daemon: FakeDaemon, client: aigen.Client):
    """What an inner session leaves out the outer one gives; labels are merged; afterwards the outer one holds again."""
    with client.session("run-1", service="s", phase=1, labels={"a": "1", "b": "1"}):
        with client.session(phase=2, task="t", labels={"b": "2"}):
            client.complete("hi")
        client.complete("hi")
    inner, outer = daemon.calls
    assert account(inner) == ("run-1", "t", {"a": "1", "b": "2"})
    assert (inner.request.service, inner.request.phase) == ("s", "2")
    assert account(outer) == ("run-1", "", {"a": "1", "b": "1"})
    assert outer.request.phase == "1"


def test_the_call_wins_over_session_and_client(daemon: FakeDaemon):
    """Service and phase are the call's, else the session's, else the client's."""
    with aigen.Client(daemon.socket, service="client's") as client:
        client.complete("hi")
        with client.session(service="session's", phase=1):
            client.complete("hi")
            client.complete("hi", service="call's", phase=9)
    said = [(call.request.service, call.request.phase) for call in daemon.calls]
    assert said == [("client's", ""), ("session's", "1"), ("call's", "9")]


def test_a_session_belongs_to_its_client(daemon: FakeDaemon, client: aigen.Client):
    """Another client in the same block is not labelled, and its own session lies over the first one's undisturbed."""
    with aigen.Client(daemon.socket) as other, client.session("mine"):
        other.complete("hi")
        with other.session("theirs"):
            client.complete("hi")
            other.complete("hi")
    assert [account(call)[0] for call in daemon.calls] == ["", "mine", "theirs"]


def test_allow_repeat_travels_with_the_account(daemon: FakeDaemon, client: aigen.Client):
    """The permission to pay twice is said for one call, with and without a session."""
    client.complete("hi", allow_repeat=True)
    with client.session("run-1"):
        client.stream("hi", allow_repeat=True).result()
        client.complete("hi")
    assert [(call.accounting.session, call.accounting.allow_repeat) for call in daemon.calls] == [
        ("", True),
        ("run-1", True),
        ("run-1", False),
    ]


async def test_tasks_inherit_their_own_session(daemon: FakeDaemon):
    """Concurrent tasks, each in its own session, do not see each other's; children inherit."""
    async with aigen.AsyncClient(daemon.socket) as client:

        async def run(name: str) -> None:
            with client.session(name):
                await asyncio.gather(*(client.complete(name) for _ in range(3)))

        await asyncio.gather(*(run(f"run-{n}") for n in range(4)))
    assert sorted((call.accounting.session, call.request.prompt) for call in daemon.calls) == [
        (f"run-{n}", f"run-{n}") for n in range(4) for _ in range(3)
    ]


def test_thread_pool_gets_a_session_by_run_or_by_entering_again(daemon: FakeDaemon, client: aigen.Client):
    """A worker is labelled where the session is handed over; one session may be open in many threads at once."""

    def entering() -> None:
        with session:
            client.complete("entered")

    with ThreadPoolExecutor(4) as pool, client.session("run-1") as session:
        calls = [pool.submit(session.run, client.complete, "run", model="m") for _ in range(4)]
        calls += [pool.submit(entering) for _ in range(4)]
        bare = pool.submit(client.complete, "bare")
        for call in (*calls, bare):
            call.result()
    assert {(call.request.prompt, call.accounting.session) for call in daemon.calls} == {
        ("run", "run-1"),
        ("entered", "run-1"),
        ("bare", ""),
    }


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("session", {"name": "x" * 129}),
        ("session", {"name": 3}),
        ("service", {"service": "\ud800"}),
        ("phase", {"phase": "x" * 129}),
        ("task", {"task": "x" * 129}),
        ("labels", {"labels": {str(n): "" for n in range(17)}}),
        ("labels['a']", {"labels": {"a": "x" * 65}}),
    ],
)
def test_values_that_the_daemon_would_refuse_are_refused_at_once(client: aigen.Client, field: str, given: dict):
    """A session with a value out of bounds is refused by name where it is made."""
    with pytest.raises(aigen.InvalidRequest) as caught:
        client.session(**given)
    assert caught.value.field == field


def test_labels_are_counted_when_sessions_are_merged(client: aigen.Client):
    """Two sessions of 10 labels each do not slip through the limit of 16; the outer one stays in force."""
    with client.session("outer", labels={f"a{n}": "" for n in range(10)}):
        with (
            pytest.raises(aigen.InvalidRequest, match="20 labels"),
            client.session(labels={f"b{n}": "" for n in range(10)}),
        ):
            pass
        assert client.complete("hi").text == "echo: hi"


def test_session_shows_what_it_holds(client: aigen.Client):
    """The repr of a session tells its values."""
    assert repr(client.session("run-1", phase=2)) == "Session(session='run-1', phase='2', labels={})"
