"""Answers requests about batch jobs, in whichever API: finds the place, looks at the key, lets the script strike, and does it."""

from urllib.parse import parse_qsl

from aigen_emulator.batches import Batches
from aigen_emulator.exchange import Exchange, Receive, Scope, Send
from aigen_emulator.faults import Script
from aigen_emulator.limits import Gate
from aigen_emulator.misdeeds import misbehave_about_jobs
from aigen_emulator.wire.anthropic_batches import AnthropicBatches
from aigen_emulator.wire.batch_port import Asked, BatchWire, Told
from aigen_emulator.wire.gemini_batches import GeminiBatches
from aigen_emulator.wire.openai_batches import OpenAIBatches
from aigen_emulator.wire.port import RefusalError, Wire

Place = tuple[BatchWire, str, str]  # the API, the operation, and the id in the address


class BatchService:
    """The batch APIs of the providers.

    Args:
        batches: Keeps and runs the jobs.
        gemini: How Google's headers, keys and errors are spelled.
        script: The faults in waiting.
        gate: What the headers say of the rate limits.
        api_key: The key that is demanded; None for none.
    """

    def __init__(self, batches: Batches, *, gemini: Wire, script: Script, gate: Gate, api_key: str | None) -> None:
        self._wires: tuple[BatchWire, ...] = (OpenAIBatches(batches), AnthropicBatches(batches), GeminiBatches(batches, gemini))
        self._script = script
        self._gate = gate
        self._api_key = api_key

    def place(self, scope: Scope, path: str) -> Place | None:
        """Return what an address stands for; None where it has nothing to do with batch jobs.

        Two of the APIs have jobs at the same address; whose key comes along tells which is meant.
        """
        method, of_google = scope["method"], any(name == b"x-goog-api-key" for name, _ in scope["headers"])
        for wire in self._wires[::-1] if of_google else self._wires:
            if (found := wire.place(method, path)) is not None:
                return wire, *found
        return None

    async def serve(self, scope: Scope, receive: Receive, send: Send, *, place: Place, provider: str) -> None:
        """Answer one request."""
        wire, operation, target = place
        manners = wire.manners
        exchange = Exchange(scope, receive, send, wire_headers=lambda: manners.headers(self._gate.allowance()))
        body = await exchange.read()
        if body is None:
            return
        asked = Asked(
            operation=operation,
            provider=provider,
            target=target,
            base_url=_base_url(exchange, provider),
            query=dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))),
            headers=exchange.headers,
            body=body,
        )
        try:
            await self._answer(exchange, wire, asked)
        except RefusalError as refused:
            await exchange.respond(refused.status, manners.error(refused))

    async def _answer(self, exchange: Exchange, wire: BatchWire, asked: Asked) -> None:
        """Do what is asked; a fault that charges does it too, and only spoils what is said about it."""
        if self._api_key is not None and not wire.manners.authorized(exchange.headers, self._api_key):
            raise wire.manners.default_refusal(401)
        fault = self._script.strike_operation(asked.operation, provider=asked.provider)
        told = await wire.answer(asked) if fault is None or fault.charges else Told(body=b"{}")
        if fault is None:
            await exchange.respond(told.status, told.body, headers=told.headers, content_type=told.content_type)
        else:
            await misbehave_about_jobs(exchange, wire.manners, fault, told.body)


def _base_url(exchange: Exchange, provider: str) -> str:
    host = exchange.headers.get(b"host", b"").decode("latin-1")
    return f"http://{host}" + (f"/p/{provider}" if provider else "")
