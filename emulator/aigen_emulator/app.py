"""The emulator as an ASGI application: completions on a short path of their own, control and lists through Starlette.

The steps of a completion stand in `Emulator._complete`, in order: read, authorize, ask, strike, admit, bill, answer.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aigen_emulator.answers import ModelAnswer, Question, answer
from aigen_emulator.batch_service import BatchService
from aigen_emulator.batches import Batches, Job, Line, Outcome
from aigen_emulator.cached_contents import PATH as CACHES_PATH
from aigen_emulator.cached_contents import CachedContents, cached_contents_app
from aigen_emulator.clock import MovableClock
from aigen_emulator.control import control_app
from aigen_emulator.exchange import Exchange, Receive, Scope, Send
from aigen_emulator.faults import Fault, FaultError, Script
from aigen_emulator.limits import Gate, Refusal
from aigen_emulator.misdeeds import line_outcome, misbehave, usage_told
from aigen_emulator.prompt_cache import CacheUse, MarkedPromptCache, PromptCache
from aigen_emulator.trace_cache import TraceCache, block_tokens
from aigen_emulator.truth import Charge, TruthLog
from aigen_emulator.wire.anthropic import AnthropicWire
from aigen_emulator.wire.gemini import GeminiWire
from aigen_emulator.wire.openai import OpenAIWire
from aigen_emulator.wire.perplexity import PerplexityWire
from aigen_emulator.wire.port import RefusalError, Wire
from aigen_emulator.wire.responses import ResponsesWire
from aigen_emulator.wire.sonar import SonarWire

WIRES: tuple[Wire, ...] = (OpenAIWire(), AnthropicWire(), ResponsesWire(), PerplexityWire(), SonarWire())
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-pro", "sonar-pro")
_MAX_PATHS = 256
_PROVIDER = re.compile(r"/p/(?P<provider>[^/]+)")
_NO_FAULT = Fault()
_TIERS = {"flex": "flex", "default": "", "standard": ""}
_TIER_HEADER = "x-gemini-service-tier"
_NOTHING = CacheUse()


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorSettings:
    """How the emulated provider behaves when nothing is scripted."""

    truth: Path | None = None  # where charges are written; None: they are only counted
    first_token_ms: float = 0.0
    token_ms: float = 0.0  # a token of a stream, or of the whole answer's time
    answer_tokens: int | None = None  # length of answers whose prompt asks for none
    max_concurrent: int | None = None
    per_minute: int | None = None
    tokens_per_minute: int | None = None
    batch_delay_s: float = 0.0  # from making a batch job to its last answer
    prompt_cache: bool = False  # bill repeated prefixes as cached where the format has no marks for them; marked ones always are
    trace_rules: bool = False  # keep and count marked prefixes as traces are replayed: by the block, and the texts alone
    api_key: str | None = None  # demand this key


class Emulator:
    """Answers, fails, bills and counts.

    Args:
        settings: How it behaves when nothing is scripted.
        monotonic: Seconds that never go back; the rate limit and the prompt caches go by it.
    """

    def __init__(self, settings: EmulatorSettings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.script = Script()
        self.truth = TruthLog(settings.truth)
        self.clock = MovableClock(monotonic)
        self.gate = Gate(
            self.clock,
            max_concurrent=settings.max_concurrent,
            per_minute=settings.per_minute,
            tokens_per_minute=settings.tokens_per_minute,
        )
        self.requests: dict[str, int] = {}
        self._prompt_cache = PromptCache(self.clock) if settings.prompt_cache else None
        self._marked_cache = TraceCache(self.clock) if settings.trace_rules else MarkedPromptCache(self.clock)
        self.cached_contents = CachedContents(self.clock)
        gemini = GeminiWire(self.cached_contents.held)
        self._wires = (*WIRES, gemini)
        self.batches = Batches(self.clock, self._run_line)
        self.batches.pace(delay_s=settings.batch_delay_s)
        self._batch_service = BatchService(
            self.batches, gemini=gemini, script=self.script, gate=self.gate, api_key=settings.api_key
        )
        self._caches = cached_contents_app(self.cached_contents, api_key=settings.api_key)
        self._paths: dict[str, _Target | None] = {}
        self._control = control_app(
            self.script, self.clock, self.stats, WIRES[0].models(MODELS), gate=self.gate, batches=self.batches
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        target = self._target(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if target is None:
            await self._serve_beside(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, wire_headers=lambda: target.wire.headers(self.gate.allowance()))
        wire = target.wire
        try:
            await self._complete(exchange, target)
        except RefusalError as refused:
            await exchange.respond(refused.status, wire.error(refused))
        except FaultError as bad:
            await exchange.respond(400, wire.error(RefusalError(400, str(bad), kind="emulator_error")))

    async def _serve_beside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is no completion: batch jobs, explicit caches, control."""
        provider, rest = _split(scope.get("path", ""))
        place = self._batch_service.place(scope, rest) if scope["type"] == "http" else None
        if place is not None:
            await self._batch_service.serve(scope, receive, send, place=place, provider=provider)
            return
        beside = self._caches if CACHES_PATH.fullmatch(scope.get("path", "")) else self._control
        await beside(scope, receive, send)

    def stats(self) -> dict[str, Any]:
        """Return what was served so far, for tests and people."""
        return {
            "requests": dict(self.requests),
            "charged": self.truth.count,
            "faults": self.script.struck,
            "refused": self.gate.refused,
            "in_flight": self.gate.in_flight,
            "peak_in_flight": self.gate.peak_in_flight,
            "batches": self.batches.stats(),
        }

    async def _complete(self, exchange: Exchange, target: "_Target") -> None:
        wire = target.wire
        body = await exchange.read()
        if body is None:
            return
        if self.settings.api_key is not None and not wire.authorized(exchange.headers, self.settings.api_key):
            raise wire.default_refusal(401)
        question = wire.question(body, target.path)
        provider = target.provider or question.model
        self.requests[provider] = self.requests.get(provider, 0) + 1
        fault = self._strike(exchange, provider, question)
        question = replace(question, tier=_TIERS[fault.tier]) if fault.tier else question
        refusal = self.gate.enter(tokens=question.input_tokens + (question.max_tokens or 0))
        if refusal is not None:
            await self._refuse(exchange, wire, refusal)
            return
        try:
            said, use = self._answer(provider, question)
            if fault.charges:
                await self._bill(exchange, provider, question, said, status=fault.status or 200)
                if question.cached_content:
                    self.cached_contents.bill(question.cached_content)
            await self._think(said, question, use if fault.answers else _NOTHING, extra_ms=fault.delay_ms)
            if fault is _NO_FAULT:
                await self._respond(exchange, wire, question, said)
            else:
                await misbehave(exchange, wire, fault, question, said)
        finally:
            self.gate.leave()

    def _strike(self, exchange: Exchange, provider: str, question: Question) -> Fault:
        header = exchange.headers.get(b"x-emulator-fault", b"").decode("latin-1")
        prompt = question.prompt
        struck = self.script.strike(model=question.model, provider=provider, prompt=prompt, header=header, seed=question.seed)
        return struck or _NO_FAULT

    def _answer(self, provider: str, question: Question) -> tuple[ModelAnswer, CacheUse]:
        """Return what the model says, and what it will have written to the prompt cache once it begins to."""
        try:
            said = answer(question, answer_tokens=self.settings.answer_tokens)
        except ValueError as error:
            raise FaultError(f"bad answer marker: {error}") from error
        said = replace(said, tier=question.tier) if question.tier else said
        owner = f"{provider}/{question.model}"
        if said.tokens.cached:
            return said, _NOTHING
        if question.cached_content:
            use = self.cached_contents.look(question.cached_content)
        elif question.block_ends:
            use = self._marked_cache.look(question, owner=owner)
            if self.settings.trace_rules:
                said = replace(said, tokens=replace(said.tokens, input=block_tokens(question)[-1]))
        elif self._prompt_cache is not None:
            use = self._prompt_cache.look(question.prompt, owner=owner)
            use = replace(use, read=min(use.read, said.tokens.input))
        else:
            return said, _NOTHING
        created = use.written_5m + use.written_1h if question.cached_content else 0  # billed beside the prompt that reads it
        tokens = replace(said.tokens, cached=use.read, written_5m=use.written_5m, written_1h=use.written_1h)
        return replace(said, tokens=replace(tokens, input=tokens.input + created)), use

    async def _bill(self, exchange: Exchange, provider: str, question: Question, said: ModelAnswer, *, status: int) -> None:
        await self.truth.charge(
            Charge(
                request_id=exchange.headers.get(b"x-client-request-id", b"").decode("latin-1"),
                attempt=_number_or_none(exchange.headers.get(b"x-aigen-attempt")),
                provider=provider,
                model=question.model,
                input_tokens=said.tokens.input,
                cached_tokens=said.tokens.cached,
                output_tokens=said.tokens.output,
                status=status,
                cache_write_5m_tokens=said.tokens.written_5m,
                cache_write_1h_tokens=said.tokens.written_1h,
                processing=said.tier or "standard",
            )
        )

    async def _run_line(self, job: Job, line: Line) -> Outcome:
        """Return what a line of a batch job is answered with, having billed it."""
        target = self._target(line.path)
        assert target is not None  # noqa: S101 - lines are taken in with the addresses of completions only
        try:
            question = target.wire.question(line.body, line.path)
            provider = job.provider or question.model
            prompt = question.prompt
            fault = self.script.strike(model=question.model, provider=provider, prompt=prompt, header="", seed=question.seed)
            said, _ = self._answer(provider, replace(question, tier=""))
        except RefusalError as refused:
            return Outcome(refused.status, json.loads(target.wire.error(refused)))
        except FaultError as bad:
            return Outcome(400, json.loads(target.wire.error(RefusalError(400, str(bad), kind="emulator_error"))))
        fault = fault or _NO_FAULT
        if fault.charges:
            await self.truth.charge(_line_charge(job, line, provider, question, said))
        return line_outcome(target.wire, fault, question, said)

    async def _respond(self, exchange: Exchange, wire: Wire, question: Question, said: ModelAnswer) -> None:
        usage = usage_told(wire, said, "")
        extra = {_TIER_HEADER: question.tier} if question.tier and isinstance(wire, GeminiWire) else None
        if not question.stream:
            await exchange.respond(200, wire.unary(question, said, usage=usage), headers=extra)
            return
        events = wire.events(question, said, usage=usage)
        await exchange.stream(events, pause_s=self.settings.token_ms / 1000, headers=extra)

    async def _think(self, said: ModelAnswer, question: Question, use: CacheUse, *, extra_ms: int) -> None:
        """Wait to the first token, with which the prefix is cached, and for a whole answer to the last."""
        await _pause(extra_ms + self.settings.first_token_ms)
        keeper = self._marked_cache if question.block_ends else self._prompt_cache
        if keeper is not None:
            keeper.begin(use)
        if not question.stream:
            await _pause(self.settings.token_ms * said.tokens.output)

    async def _refuse(self, exchange: Exchange, wire: Wire, refusal: Refusal) -> None:
        usual = wire.default_refusal(429)
        refused = RefusalError(429, refusal.message, kind=usual.kind, code=usual.code, retry_after_s=refusal.retry_after_s)
        await exchange.respond(429, wire.error(refused), headers=wire.wait_headers(refusal.retry_after_s))

    def _target(self, path: str) -> "_Target | None":
        """Return what is spoken at an address; None where it is no completion."""
        if path in self._paths:
            return self._paths[path]
        provider, rest = _split(path)
        target = next((_Target(provider, wire, rest) for wire in self._wires if wire.path.fullmatch(rest)), None)
        if len(self._paths) < _MAX_PATHS:
            self._paths[path] = target
        return target


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a completion is asked: the provider named in the path ("" for none), the format, and the format's own path."""

    provider: str
    wire: Wire
    path: str


async def _pause(milliseconds: float) -> None:
    if milliseconds:
        await asyncio.sleep(milliseconds / 1000)


def _split(path: str) -> tuple[str, str]:
    match = _PROVIDER.match(path)
    return (match["provider"], path[match.end() :]) if match else ("", path)


def _line_charge(job: Job, line: Line, provider: str, question: Question, said: ModelAnswer) -> Charge:
    return Charge(
        request_id="",
        attempt=None,
        provider=provider,
        model=question.model,
        input_tokens=said.tokens.input,
        cached_tokens=said.tokens.cached,
        output_tokens=said.tokens.output,
        status=200,
        cache_write_5m_tokens=said.tokens.written_5m,
        cache_write_1h_tokens=said.tokens.written_1h,
        processing="batch",
        job=job.id,
        custom_id=line.name,
    )


def _number_or_none(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None
