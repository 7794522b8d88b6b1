"""Methods as gRPC handlers over raw bytes, with errors turned into statuses at one place."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from aigend.completion.ports import CallMeter
from aigend.errors import invalid
from aigend.rpc.status import CODES, LONGEST_TEXT, as_domain_error, shortened, trailers

Context = grpc.aio.ServicerContext[bytes, bytes]
Unary = Callable[[bytes, Context], Awaitable[bytes]]
Streaming = Callable[[bytes, Context], AsyncGenerator[bytes, None]]
Request = TypeVar("Request", bound=Message)


class Guard:
    """Turns what a method raises into a status.

    Args:
        meter: Counts failures by reason.
    """

    def __init__(self, meter: CallMeter) -> None:
        self._meter = meter

    def unary(self, method: Unary) -> Unary:
        """Return a handler that answers with one message."""

        async def handler(data: bytes, context: Context) -> bytes:
            try:
                return await method(data, context)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # a defect becomes DAEMON_FAULT, with its traceback in the log
                await self._abort(context, error)
                raise

        return handler

    def streaming(self, method: Streaming) -> Streaming:
        """Return a handler that answers with a stream."""

        async def handler(data: bytes, context: Context) -> AsyncGenerator[bytes, None]:
            try:
                async with aclosing(method(data, context)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except Exception as error:  # noqa: BLE001 - as above
                await self._abort(context, error)

        return handler

    async def _abort(self, context: Context, error: Exception) -> None:
        if isinstance(error, DecodeError):
            error = invalid("request", "not a protobuf message", "the serialized request of this method, in UTF-8")
        shown = as_domain_error(error)
        self._meter.count_failure(shown.reason)
        await context.abort(CODES[shown.reason], shortened(shown.text, LONGEST_TEXT), trailers(shown))


def method(request: type[Request], handle: Callable[[Request], Awaitable[Message]]) -> Unary:
    """Return a method that parses its request and serializes its response."""

    async def unary(data: bytes, _: Context) -> bytes:
        return (await handle(request.FromString(data))).SerializeToString()

    return unary


def service(
    name: str, guard: Guard, *, unary: Mapping[str, Unary], streaming: Mapping[str, Streaming] | None = None
) -> grpc.GenericRpcHandler:
    """Return the handlers of a service; methods get and give raw bytes."""
    handlers: dict[str, Any] = {rpc: grpc.unary_unary_rpc_method_handler(guard.unary(run)) for rpc, run in unary.items()}
    for rpc, run in (streaming or {}).items():
        handlers[rpc] = grpc.unary_stream_rpc_method_handler(guard.streaming(run))
    return grpc.method_handlers_generic_handler(name, handlers)
