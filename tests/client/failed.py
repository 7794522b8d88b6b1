"""A failed call as gRPC shows it, for tests of what is made of it."""

from collections.abc import Sequence

import grpc


class Failed(grpc.RpcError):
    """A failed call with a code and trailers."""

    def __init__(self, code: grpc.StatusCode, trailers: Sequence[tuple[str, str | bytes]] = ()) -> None:
        self._code, self._trailers = code, trailers

    def code(self) -> grpc.StatusCode:
        """Return the status code."""
        return self._code

    def details(self) -> str:
        """Return the text."""
        return "told by the transport"

    def trailing_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Return the trailers."""
        return self._trailers
