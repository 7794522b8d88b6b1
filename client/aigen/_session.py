"""Whose calls they are: sessions, their labels, and the accounting metadata made from them once.

What belongs to a call and not to the question travels as metadata, so that equal questions stay equal bytes. How it is sent
stands in `_call.py`.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from aigen.errors import invalid
from aigen.v1 import completion_pb2

P = ParamSpec("P")
R = TypeVar("R")

MAX_NAME = 128
MAX_LABELS = 16
MAX_LABEL = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a session says about the calls inside it, with the accounting metadata already serialized."""

    session: str = ""
    task: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    service: str | None = None
    phase: str | None = None
    once: tuple[tuple[str, bytes], ...] = ()
    repeat: tuple[tuple[str, bytes], ...] = ()

    def sealed(self) -> Self:
        """Return the same context with its metadata made, for calls without and with `allow_repeat`."""
        return replace(self, once=self._metadata(allow_repeat=False), repeat=self._metadata(allow_repeat=True))

    def _metadata(self, *, allow_repeat: bool) -> tuple[tuple[str, bytes], ...]:
        accounting = completion_pb2.Accounting(session=self.session, task=self.task, labels=self.labels, allow_repeat=allow_repeat)
        payload = accounting.SerializeToString(deterministic=True)
        return (("aigen-accounting-bin", payload),) if payload else ()


@dataclass(frozen=True, slots=True)
class _Entered:
    owner: object
    context: Context
    outer: "_Entered | None"


_entered: ContextVar[_Entered | None] = ContextVar("aigen_session", default=None)


class Session:
    """Labels the calls that one client makes inside its `with` block; what an inner one leaves out, the outer one gives.

    Tasks and `asyncio.to_thread` inherit it. A thread pool's workers do not, because Python gives them a fresh context: enter
    the same session again in the worker (`with session:`), or hand over `session.run`:

    ```python
    with client.session("run-1", service="aigenflow", phase=2) as session:
        client.complete("Hello", agent="claude")
        with ThreadPoolExecutor() as pool:
            pool.submit(session.run, client.complete, "Hello", agent="claude")
    ```
    """

    __slots__ = ("_changes", "_labels", "_owner")

    def __init__(self, owner: object, *, labels: Mapping[str, str], **changes: str | None) -> None:
        self._owner = owner
        self._labels = labels
        self._changes = {name: value for name, value in changes.items() if value is not None}

    def __enter__(self) -> Self:
        outer = current(self._owner)
        context = replace(outer, labels={**outer.labels, **self._labels}, **self._changes)  # type: ignore[arg-type]  # names are checked in session_of
        _check_labels(context.labels)
        _entered.set(_Entered(self._owner, context.sealed(), _entered.get()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        here = _entered.get()
        _entered.set(here.outer if here else None)

    def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `function` returns, called inside this session; for the workers of a thread pool."""
        with self:
            return function(*args, **kwargs)

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in self._changes.items()]
        return f"Session({', '.join([*shown, f'labels={dict(self._labels)!r}'])})"


def session_of(
    owner: object,
    name: str | None,
    *,
    service: str | None,
    phase: str | int | None,
    task: str | None,
    labels: Mapping[str, str] | None,
) -> Session:
    """Return a session of a client, its values checked."""
    changes = {
        "session": checked("session", name),
        "service": checked("service", service),
        "phase": checked("phase", None if phase is None else str(phase)),
        "task": checked("task", task),
    }
    return Session(owner, labels=_check_labels(dict(labels or {})), **changes)


_NONE = Context().sealed()


def current(owner: object) -> Context:
    """Return the context of the innermost session that this client has entered here."""
    entered = _entered.get()
    while entered is not None and entered.owner is not owner:
        entered = entered.outer
    return _NONE if entered is None else entered.context


def checked(name: str, value: Any, limit: int = MAX_NAME) -> str | None:
    """Return a name of at most `limit` characters; refuse one that is longer or not valid Unicode."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid(name, type(value).__name__, "a text")
    if len(value) > limit:
        raise invalid(name, f"{len(value)} characters long", f"at most {limit}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise invalid(name, f"not valid Unicode at position {error.start}", "text without lone surrogates") from None
    return value


def _check_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    if len(labels) > MAX_LABELS:
        raise invalid("labels", f"{len(labels)} labels", f"at most {MAX_LABELS}")
    for key, value in labels.items():
        checked(f"labels key {key!r:.70}", key, MAX_LABEL)
        checked(f"labels[{key!r}]", value, MAX_LABEL)
    return labels
