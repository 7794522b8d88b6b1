"""A daemon that says what a test tells it to, on a real socket, and remembers what it was asked."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from aigen.v1 import batch_job_pb2, budget_pb2, cache_pb2, completion_pb2, daemon_pb2, model_pb2, usage_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

FILES = (batch_job_pb2, budget_pb2, completion_pb2, cache_pb2, usage_pb2, model_pb2, daemon_pb2)
Answer = Message | Exception | Callable[[Any], Message]


class ScriptedError(Exception):
    """A failure with a reason, as the daemon sends it."""

    def __init__(self, code: str, reason: str, text: str, **metadata: str) -> None:
        super().__init__(text)
        self.code = grpc.StatusCode[code]
        status = status_pb2.Status(code=code_pb2.Code.Value(code), message=text)
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="aigend", metadata=metadata))
        self.trailers = (("grpc-status-details-bin", status.SerializeToString()), ("grpc-retry-pushback-ms", "-1"))


class ScriptedDaemon:
    """Answers each RPC with the message, failure or function under its name in `answers`; a missing one is empty.

    A list under `StreamComplete` is sent message by message.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.answers: dict[str, Any] = {}
        self.asked: dict[str, list[Any]] = defaultdict(list)
        self.accounts: list[completion_pb2.Accounting] = []
        self.request_ids: list[str] = []
        self.patience: list[float | None] = []  # seconds of each caller; None: without end
        self.server = grpc.server(ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers(tuple(self._service(file, name) for file in FILES for name in _services(file)))
        self.server.add_insecure_port(f"unix:{socket}")

    def start(self) -> None:
        """Serve."""
        self.server.start()

    def stop(self) -> None:
        """Stop and wait until the socket is gone."""
        self.server.stop(None).wait(5)

    def _service(self, file: Any, name: str) -> grpc.GenericRpcHandler:
        service = file.DESCRIPTOR.services_by_name[name]
        return grpc.method_handlers_generic_handler(
            service.full_name, {method.name: self._method(file, method) for method in service.methods}
        )

    def _method(self, file: Any, method: Any) -> grpc.RpcMethodHandler:
        request, response = getattr(file, method.input_type.name), getattr(file, method.output_type.name)
        kind = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        behave = self._stream if method.server_streaming else self._unary

        def handle(message: Any, context: grpc.ServicerContext) -> Any:
            self.asked[method.name].append(message)
            beside = dict(context.invocation_metadata())
            self.accounts.append(completion_pb2.Accounting.FromString(beside.get("aigen-accounting-bin", b"")))
            self.request_ids.append(str(beside.get("aigen-request-id", "")))
            self.patience.append(context.time_remaining())
            return behave(self.answers.get(method.name, response()), message, context)

        return kind(handle, request_deserializer=request.FromString, response_serializer=response.SerializeToString)

    def _unary(self, answer: Answer, message: Any, context: grpc.ServicerContext) -> Message:
        if callable(answer):
            return answer(message)
        if isinstance(answer, ScriptedError):
            context.set_trailing_metadata(answer.trailers)
            context.abort(answer.code, str(answer))
        return answer

    def _stream(self, answers: list[Message], message: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        for answer in answers:
            yield self._unary(answer, message, context)


def _services(file: Any) -> list[str]:
    return list(file.DESCRIPTOR.services_by_name)
