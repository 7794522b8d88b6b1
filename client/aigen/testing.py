"""A daemon for tests of programs that use aigen: a real socket, scripted answers, no provider and no cost.

```python
import aigen
from aigen.testing import FakeDaemon

def test_my_pipeline():
    with FakeDaemon() as daemon, aigen.Client(daemon.socket) as client:
        daemon.answer("Paris", cost_usd_nanos=1_500)
        daemon.fail("BUDGET_EXCEEDED", "the day's budget is spent", limit_usd_nanos=10)
        ...
        assert daemon.calls[0].request.prompt == "What is the capital of France?"
```

What is scripted is used up in order; afterwards every question is answered by itself ("echo: …"). It keeps no
cache, no ledger and no prices. `import aigen` does not load this module.
"""

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message as ProtoMessage
from google.rpc import error_details_pb2, status_pb2

from aigen._call import STREAM, UNARY
from aigen._channel import CHANNEL_OPTIONS, channel_target
from aigen.errors import DOMAIN
from aigen.v1 import batch_job_pb2, budget_pb2, cache_pb2, completion_pb2, daemon_pb2, message_pb2, model_pb2, usage_pb2

_CODES: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.INVALID_ARGUMENT: (
        "INVALID_REQUEST PROMPT_TOO_LARGE UNKNOWN_MODEL UNKNOWN_AGENT CONTEXT_TOO_LONG REQUEST_ID_REUSED"
    ),
    grpc.StatusCode.PERMISSION_DENIED: "MODEL_NOT_ALLOWED ROLE_REQUIRED",
    grpc.StatusCode.FAILED_PRECONDITION: "CAPABILITY_MISSING PROVIDER_NOT_CONFIGURED PRICE_UNKNOWN PROVIDER_REFUSED",
    grpc.StatusCode.UNAUTHENTICATED: "UNAUTHENTICATED",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "BUDGET_EXCEEDED BUDGET_PAUSED OVERLOADED RATE_LIMITED STORAGE_FULL",
    grpc.StatusCode.NOT_FOUND: "NOT_CACHED NOT_FOUND",
    grpc.StatusCode.UNAVAILABLE: "PROVIDER_UNAVAILABLE DRAINING",
    grpc.StatusCode.DEADLINE_EXCEEDED: "PROVIDER_TIMEOUT",
    grpc.StatusCode.ABORTED: "OUTCOME_UNKNOWN REPLY_GONE JOB_CANCELLED",
    grpc.StatusCode.DATA_LOSS: "STORAGE_DAMAGED",
    grpc.StatusCode.INTERNAL: "DAEMON_FAULT",
}
CODE_OF: Mapping[str, grpc.StatusCode] = {reason: code for code, reasons in _CODES.items() for reason in reasons.split()}
"""Status code of every reason, as the daemon sends it."""

_REQUESTS: Mapping[str, type[ProtoMessage]] = {
    method.path: getattr(module, f"{name}Request")
    for method in (*UNARY, STREAM)
    for name in [method.path.rpartition("/")[2]]
    for module in (batch_job_pb2, budget_pb2, completion_pb2, usage_pb2, cache_pb2, model_pb2, daemon_pb2)
    if hasattr(module, f"{name}Request")
}


@dataclass(frozen=True, slots=True)
class FakeCall:
    """One call as it arrived."""

    method: str  # such as "Complete"
    request: Any  # the protobuf message
    payload: bytes  # its bytes
    metadata: Mapping[str, str | bytes]

    @property
    def request_id(self) -> str:
        """Request id that came with the call; empty where there was none."""
        return str(self.metadata.get("aigen-request-id", ""))

    @property
    def accounting(self) -> completion_pb2.Accounting:
        """On whose account the call went."""
        payload = self.metadata.get("aigen-accounting-bin", b"")
        return completion_pb2.Accounting.FromString(payload if isinstance(payload, bytes) else payload.encode())


@dataclass(frozen=True, slots=True)
class _Failure:
    code: grpc.StatusCode
    text: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    pushback: bool = False
    domain: str = DOMAIN

    def status(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code.value[0], message=self.text)
        if self.reason:
            info = error_details_pb2.ErrorInfo(reason=self.reason, domain=self.domain, metadata=self.metadata)
            status.details.add().Pack(info)
        if self.retry_after_s is not None:
            delay = Duration(nanos=round(self.retry_after_s % 1 * 1e9), seconds=int(self.retry_after_s))
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        return status

    def abort(self, context: grpc.ServicerContext) -> None:
        trailers: list[tuple[str, str | bytes]] = [("grpc-retry-pushback-ms", "-1")] if self.pushback else []
        if self.reason or self.retry_after_s is not None:
            trailers.append(("grpc-status-details-bin", self.status().SerializeToString()))
        context.set_trailing_metadata(tuple(trailers))
        context.abort(self.code, self.text)


class _Hang:
    """Keeps a call without an answer until its caller gives up."""


_Step = _Failure | _Hang | completion_pb2.CompleteResponse


class FakeDaemon:
    """A daemon in the test's own process, on a socket of its own.

    Args:
        socket: Path of the socket; None: a new one in a temporary directory.
    """

    def __init__(self, socket: str | Path | None = None) -> None:
        self._directory = None if socket else tempfile.TemporaryDirectory(prefix="aigen-")
        self.socket = str(socket) if socket else str(Path(self._directory.name) / "aigend.sock") if self._directory else ""
        self.calls: list[FakeCall] = []
        self._script: deque[_Step] = deque()
        self._answers: dict[str, deque[ProtoMessage]] = {}
        self._lock = threading.Condition()
        self._server: grpc.Server | None = None

    def answer(
        self,
        text: str,
        *,
        cost_usd_nanos: int | None = 0,
        cache_outcome: str = "MISS",
        tool_calls: tuple[message_pb2.ToolCall, ...] = (),
        **fields: Any,
    ) -> Self:
        """Let the next completion answer with a text.

        Args:
            text: The answer.
            cost_usd_nanos: Its cost in nano-dollars; None: unknown.
            cache_outcome: A word of the protobuf enum, such as "HIT".
            tool_calls: Tool calls of the answer.
            fields: Further fields of CompleteResponse.
        """
        outcome = f"CACHE_OUTCOME_{cache_outcome}"
        response = completion_pb2.CompleteResponse(text=text, cache_outcome=outcome, tool_calls=tool_calls, **fields)
        response.parts.add().text = text
        for call in tool_calls:
            response.parts.add().tool_call.CopyFrom(call)
        if cost_usd_nanos is not None:
            response.cost_usd_nanos = cost_usd_nanos
        self._script.append(response)
        return self

    def fail(
        self,
        reason: str,
        text: str = "scripted",
        *,
        code: grpc.StatusCode | None = None,
        retry_after_s: float | None = None,
        times: int = 1,
        domain: str = DOMAIN,
        **metadata: object,
    ) -> Self:
        """Let the next call fail, whatever it is.

        Args:
            reason: A reason of the contract, such as "BUDGET_EXCEEDED"; empty: none, as when the transport fails.
            text: Sentence for people.
            code: Status code; None: that of the reason.
            retry_after_s: Delay of RetryInfo in seconds; None: no RetryInfo.
            times: Calls that fail.
            domain: Domain of the reason.
            metadata: Facts for programs, such as `limit_usd_nanos=10`.
        """
        real = code or CODE_OF[reason]
        pushback = real is grpc.StatusCode.UNAVAILABLE and reason not in ("", "DRAINING")
        facts = {name: str(value) for name, value in metadata.items()}
        failure = _Failure(real, text, reason, facts, retry_after_s, pushback, domain)
        self._script.extend([failure] * times)
        return self

    def hang(self) -> Self:
        """Let the next call wait without an answer until its caller gives up."""
        self._script.append(_Hang())
        return self

    def respond(self, method: str, response: ProtoMessage) -> Self:
        """Let the next call of another method than the completions, such as "GetStats", answer with this message."""
        self._answers.setdefault(method, deque()).append(response)
        return self

    def wait_for_calls(self, count: int, *, timeout: float = 5.0) -> None:
        """Return once that many calls have arrived.

        Raises:
            TimeoutError: They have not within `timeout` seconds.
        """
        with self._lock:
            if not self._lock.wait_for(lambda: len(self.calls) >= count, timeout):
                raise TimeoutError(f"{len(self.calls)} of {count} calls arrived within {timeout:g} s")

    def start(self) -> Self:
        """Listen; a daemon that was stopped may be started again."""
        server = grpc.server(ThreadPoolExecutor(max_workers=16, thread_name_prefix="fake-aigend"), options=CHANNEL_OPTIONS[2:4])
        server.add_generic_rpc_handlers((_Handlers(self),))
        server.add_insecure_port(channel_target(self.socket))
        server.start()
        self._server = server
        return self

    def stop(self) -> None:
        """Stop at once; calls under way fail."""
        server, self._server = self._server, None
        if server is not None:
            server.stop(grace=None).wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if self._directory is not None:
            self._directory.cleanup()

    def _arrived(self, path: str, payload: bytes, context: grpc.ServicerContext) -> tuple[FakeCall, _Step | None]:
        """Write down a call and take its step of the script."""
        metadata = dict(context.invocation_metadata())
        call = FakeCall(path.rpartition("/")[2], _REQUESTS[path].FromString(payload), payload, metadata)
        with self._lock:
            self.calls.append(call)
            self._lock.notify_all()
            wanted = isinstance(self._script[0], completion_pb2.CompleteResponse) if self._script else False
            step = self._script.popleft() if self._script and (not wanted or call.method in _COMPLETIONS) else None
        if isinstance(step, _Failure):
            step.abort(context)
        if isinstance(step, _Hang):
            ended = threading.Event()
            context.add_callback(ended.set)
            ended.wait()
        return call, step

    def _unary(self, path: str, payload: bytes, context: grpc.ServicerContext) -> bytes:
        call, step = self._arrived(path, payload, context)
        if call.method == "Complete":
            return _answered(step, call.request, call.request_id).SerializeToString()
        if call.method == "BatchComplete":
            return self._batch(step, call).SerializeToString()
        with self._lock:
            scripted = self._answers.get(call.method)
            return scripted.popleft().SerializeToString() if scripted else b""

    def _batch(self, step: _Step | None, call: FakeCall) -> completion_pb2.BatchCompleteResponse:
        """Answer each item by the script, failures in their place."""
        response = completion_pb2.BatchCompleteResponse()
        for index, request in enumerate(call.request.completions):
            with self._lock:
                current = step if index == 0 and step is not None else self._script.popleft() if self._script else None
            if isinstance(current, _Failure):
                response.results.add().status.CopyFrom(current.status())
            else:
                response.results.add().response.CopyFrom(_answered(current, request, f"{call.request_id}/{index}"))
        return response

    def _stream(self, payload: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        call, step = self._arrived(STREAM.path, payload, context)
        answer = _answered(step, call.request.completion, call.request_id)
        for index, word in enumerate(answer.text.split(" ")):
            yield completion_pb2.StreamCompleteResponse(text_delta=f" {word}" if index else word).SerializeToString()
        for tool_call in answer.tool_calls:
            yield completion_pb2.StreamCompleteResponse(tool_call=tool_call).SerializeToString()
        yield completion_pb2.StreamCompleteResponse(response=answer).SerializeToString()


_COMPLETIONS = frozenset({"Complete", "StreamComplete", "BatchComplete"})


def _answered(step: _Step | None, request: completion_pb2.CompleteRequest, request_id: str) -> completion_pb2.CompleteResponse:
    """Return the scripted answer, or the one that repeats the question."""
    response = completion_pb2.CompleteResponse()
    if isinstance(step, completion_pb2.CompleteResponse):
        response.CopyFrom(step)
    else:
        asked = request.prompt or "".join(part.text for message in request.messages for part in message.parts)
        response.text = f"echo: {asked}"
        response.parts.add().text = response.text
        response.cache_outcome = completion_pb2.CACHE_OUTCOME_MISS
        response.cost_usd_nanos = 0
    response.request_id = request_id
    response.requested_model = request.model or request.agent
    response.finish_reason = response.finish_reason or message_pb2.FINISH_REASON_STOP
    return response


class _Handlers(grpc.GenericRpcHandler):
    """Sends every method of the contract to the fake daemon, as bytes."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method; None where the contract has none."""
        path: str = handler_call_details.method
        if path == STREAM.path:
            return grpc.unary_stream_rpc_method_handler(self._daemon._stream)
        return grpc.unary_unary_rpc_method_handler(self._unary(path)) if path in _REQUESTS else None

    def _unary(self, path: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        return lambda payload, context: self._daemon._unary(path, payload, context)
