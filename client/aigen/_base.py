"""What both clients are made of: their settings, their sessions and what goes around a call.

No input or output; `client.py` and `aio.py` add that.
"""

import os
import uuid
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aigen import _call, _channel, _session, presets, types
from aigen.errors import ClientClosed


class BaseClient:
    """Settings, sessions and call metadata of a client."""

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        timeout: float = 600.0,
        connect_timeout: float = 5.0,
        restart_timeout: float = 60.0,
        service: str = "",
    ) -> None:
        self._finder = _channel.Finder(_channel.socket_paths(socket, os.environ))
        self._timeout = _call.checked_seconds("timeout", timeout)
        self._connect_timeout = _call.checked_seconds("connect_timeout", connect_timeout)
        self._restart_timeout = _call.checked_seconds("restart_timeout", restart_timeout)
        self._service = _session.checked("service", service) or ""
        self._stubs: dict[str, Any] = {}  # empty: not connected yet, or no longer usable
        self._channel: Any = None
        self._closed = ""  # why no call can be made any more
        _clients.add(self)

    def session(
        self,
        name: str | None = None,
        *,
        service: str | None = None,
        phase: str | int | None = None,
        task: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> _session.Session:
        """Return a context manager that labels the calls this client makes inside it.

        Sessions nest: what the inner one leaves out, the outer one gives, and labels are merged. Tasks inherit them; for the
        workers of a thread pool see `Session.run`.

        Args:
            name: Session, such as one run of a pipeline; at most 128 characters. It is accounted only.
            service: Service that asks; its policy applies. It is part of the question.
            phase: Phase of the pipeline. It is part of the question.
            task: What some call operation; at most 128 characters. It is accounted only.
            labels: At most 16, keys and values at most 64 characters. They are accounted only.

        Example:
            ```python
            with client.session("run-1", service="aigenflow", phase=2):
                client.complete("Outline the plan", agent="claude")
            ```
        """
        return _session.session_of(self, name, service=service, phase=phase, task=task, labels=labels)

    def __repr__(self) -> str:
        state = f", closed={self._closed!r}" if self._closed else ""
        return f"{type(self).__name__}({', '.join(self._finder.paths)!r}, timeout={self._timeout:g}{state})"

    def _context(self, asked: object, options: Mapping[str, Any]) -> _session.Context:
        """The session's context; where it names no task, the name of the call's preset stands in."""
        context = _session.current(self)
        preset = options.get("preset")
        if isinstance(asked, types.CompletionRequest):
            preset = asked.options.get("preset", preset)
        if preset is None or context.task:
            return context
        return replace(context, task=_session.checked("preset", presets.find(preset).name) or "").sealed()

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else _call.checked_seconds("timeout", timeout)

    def _request_id(self, given: str | uuid.UUID | None) -> str:
        return _call.new_request_id() if given is None else _call.checked_request_id(given)

    def _recovery(self, method: _call.Method[Any], request_id: str, *, timeout: float, deadline: float) -> _call.Recovery:
        patience = {"timeout": timeout, "deadline": deadline, "restart_timeout": self._restart_timeout}
        return _call.Recovery(self._finder, method, request_id=request_id, **patience)

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed(f"this {type(self).__name__} {self._closed}")

    def _forsake(self) -> None:
        """Make the client unusable in a forked child: gRPC's connections and threads stay with the parent."""
        self._stubs = {}
        self._orphan, self._channel = self._channel, None  # kept alive: gRPC may hang where it is torn down in the child
        self._closed = f"was made before a fork, in process {os.getppid()}; make a new one in the child"


_clients: "weakref.WeakSet[BaseClient]" = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_clients):
        client._forsake()


os.register_at_fork(after_in_child=_after_fork)
