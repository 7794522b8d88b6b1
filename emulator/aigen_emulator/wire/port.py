"""What a wire format must be able to say, so that the server need not know any of them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from aigen_emulator.answers import ModelAnswer, Question
from aigen_emulator.limits import Allowance


class RefusalError(Exception):
    """A request that the provider answers with an error of its own.

    Args:
        status: HTTP status.
        message: What the provider says about it.
        kind: The provider's class of errors.
        code: The provider's code; None where it has none.
        param: The request field at fault; None where there is none.
        retry_after_s: How long the provider wants to be left alone; None where it does not say.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s


class Wire(Protocol):
    """One provider's format; `path` matches the end of the addresses that it is spoken at, whole."""

    path: re.Pattern[str]

    def question(self, body: bytes, path: str) -> Question:
        """Return what a request asks; `path` is what the pattern matched. Raises RefusalError as the provider would."""
        ...

    def headers(self, allowance: Allowance) -> list[tuple[bytes, bytes]]:
        """Return the headers of every response, the rate limit's among them."""
        ...

    def wait_headers(self, seconds: float) -> dict[str, str]:
        """Return the headers that ask a refused caller to wait."""
        ...

    def usage(self, answer: ModelAnswer) -> dict[str, Any]:
        """Return the usage object of an answer."""
        ...

    def unary(self, question: Question, answer: ModelAnswer, *, usage: Any) -> bytes:
        """Return the body of a whole answer; usage None leaves it out."""
        ...

    def events(self, question: Question, answer: ModelAnswer, *, usage: Any) -> Iterator[bytes]:
        """Yield the framed events of a streamed answer, its end included."""
        ...

    def error(self, refused: RefusalError) -> bytes:
        """Return the body of an error."""
        ...

    def error_event(self, refused: RefusalError) -> bytes:
        """Return an error as an event of a stream."""
        ...

    def default_refusal(self, status: int) -> RefusalError:
        """Return what the provider says with a status."""
        ...

    def authorized(self, headers: Mapping[bytes, bytes], api_key: str) -> bool:
        """Return whether the request carries the key."""
        ...

    def models(self, names: tuple[str, ...]) -> bytes:
        """Return the body of a list of models."""
        ...
