"""The reference: a raw gRPC echo on a unix socket that reads the same metadata and answers 1 KB, and does nothing else."""

import sys

import grpc
import uvloop

ANSWER = b"x" * 1_024


async def echo(data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    """Answer 1 KB whatever comes."""
    request_id, account = "", b""
    for key, value in context.invocation_metadata():
        if key == "aigen-request-id":
            request_id = value
        elif key == "aigen-accounting-bin":
            account = value
    return ANSWER if request_id and account else data


async def serve(socket: str) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    handlers = {"Complete": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("aigen.v1.CompletionService", handlers),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
