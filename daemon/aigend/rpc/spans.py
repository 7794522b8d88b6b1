"""The span of a call at the door: begun by the servicer, ended here with what became of the call."""

from collections.abc import Iterator
from contextlib import contextmanager

from aigend.completion.call import Reply
from aigend.errors import DomainError
from aigend.telemetry import names
from aigend.telemetry.tracing import Span


@contextmanager
def ended(span: Span | None) -> Iterator[None]:
    """End the span with the block, and say what the block failed with."""
    error_type = ""
    try:
        yield
    except DomainError as error:
        error_type = error.reason
        raise
    except BaseException as error:
        error_type = type(error).__name__
        raise
    finally:
        if span is not None:
            span.end(error_type=error_type)


def note(span: Span, request_id: str, reply: Reply) -> None:
    """Note whose call it was and where its answer came from."""
    span.set({names.REQUEST_ID: request_id, names.CACHE_OUTCOME: str(reply.outcome)})
