"""Streamed answers as objects: text as it comes, every event for those who want it, the whole answer at the end."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from types import TracebackType
from typing import Self

from aigen.errors import AigenError, DaemonFault
from aigen.results import Completion, StreamEvent, TextDelta


class _Streamed:
    """The state of a stream: the answer, once the last message has brought it."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self._completion: Completion | None = None

    @property
    def completion(self) -> Completion:
        """The whole answer with its cost; there once the stream was read to its end."""
        if self._completion is None:
            raise AigenError("the stream has not been read to its end", request_id=self.request_id)
        return self._completion

    def _noted(self, event: StreamEvent) -> StreamEvent:
        if isinstance(event, Completion):
            self._completion = event
        return event

    def _whole(self) -> Completion:
        if self._completion is None:
            raise DaemonFault("the stream ended without its last message", request_id=self.request_id)
        return self._completion


class CompletionStream(_Streamed):
    """A streamed answer; iterating gives its text as it comes.

    The call is made when the first piece is asked for. Leaving the `with` block early cancels the call; the daemon reads a paid
    answer to its end all the same.

    Example:
        ```python
        with client.stream("Tell a story", agent="claude") as stream:
            for text in stream:
                print(text, end="", flush=True)
        print(stream.completion.cost_usd)
        ```
    """

    def __init__(self, source: Generator[StreamEvent, None, None], request_id: str) -> None:
        super().__init__(request_id)
        self._source = source

    def __iter__(self) -> Iterator[str]:
        for event in self.events():
            if isinstance(event, TextDelta):
                yield event.text

    def events(self) -> Iterator[StreamEvent]:
        """Yield every event: text and reasoning as they come, tool calls whole, the Completion last."""
        for event in self._source:
            yield self._noted(event)

    def result(self) -> Completion:
        """Return the whole answer after reading what is left of the stream."""
        for _ in self.events():
            pass
        return self._whole()

    def close(self) -> None:
        """End the stream; a call under way is cancelled."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncCompletionStream(_Streamed):
    """A streamed answer for `async for`; otherwise like `CompletionStream`.

    Example:
        ```python
        async with client.stream("Tell a story", agent="claude") as stream:
            async for text in stream:
                print(text, end="", flush=True)
        print(stream.completion.cost_usd)
        ```
    """

    def __init__(self, source: AsyncGenerator[StreamEvent, None], request_id: str) -> None:
        super().__init__(request_id)
        self._source = source

    async def __aiter__(self) -> AsyncIterator[str]:
        async for event in self._source:
            noted = self._noted(event)
            if isinstance(noted, TextDelta):
                yield noted.text

    async def events(self) -> AsyncIterator[StreamEvent]:
        """Yield every event: text and reasoning as they come, tool calls whole, the Completion last."""
        async for event in self._source:
            yield self._noted(event)

    async def result(self) -> Completion:
        """Return the whole answer after reading what is left of the stream."""
        async for event in self._source:
            self._noted(event)
        return self._whole()

    async def close(self) -> None:
        """End the stream; a call under way is cancelled."""
        await self._source.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()
