"""Batch APIs for the contract suite, each with the power to make jobs run, end badly or get lost: the fake and the adapters."""

from typing import Any, Protocol

from aigen_emulator.faults import fault_from
from aigen_emulator.server import EmulatorServer
from aigend.config import ProviderSettings
from aigend.providers.anthropic import batch as anthropic_batch
from aigend.providers.batch_port import BatchLine, BatchProvider
from aigend.providers.gemini import batch as gemini_batch
from aigend.providers.openai import batch as openai_batch
from aigend.providers.port import FaultKind, ProviderCall, ProviderFault
from pydantic import SecretStr

from tests.daemon.providers.asking import request
from tests.fakes import FakeBatchProvider, fake_reply

ADAPTERS = {
    "openai": openai_batch,
    "openai-responses": openai_batch,
    "anthropic": anthropic_batch,
    "gemini": gemini_batch,
}
WORLDS = ("fake", *ADAPTERS)
KEY = "sk-planted-0123456789"
DELAY_S = 1_000.0
ANSWER_BYTES = 1_000_000
SCRIPTED: dict[FaultKind, dict[str, Any]] = {  # by what the provider does when a job is handed in
    FaultKind.REJECTED: {"status": 400},
    FaultKind.AUTH: {"status": 401},
    FaultKind.RATE_LIMITED: {"status": 429},
    FaultKind.SERVER_ERROR: {"status": 500},
    FaultKind.RESET: {"reset": True},
    FaultKind.BAD_ANSWER: {"garbage": "html"},
}


def line(name: str, prompt: str = "hello", *, model: str = "gpt-4o", **more) -> BatchLine:
    """Return a line that asks one thing."""
    call = ProviderCall(request=request(prompt, **more), model=model, max_output_tokens=400, timeout_s=10.0, request_id=f"r-{name}")
    return BatchLine(custom_id=name, call=call)


def lines(count: int, prefix: str = "a") -> list[BatchLine]:
    """Return lines with names of their own."""
    return [line(f"{prefix}{number}-7", f"question {number}") for number in range(count)]


class BatchWorld(Protocol):
    """A batch API and the power over what becomes of its jobs."""

    batch: BatchProvider
    shows_marks: bool  # whether a job is found before it has ended

    def run(self) -> None:
        """Let all jobs end."""

    def half(self) -> None:
        """Let half the lines of all jobs be run."""

    def expire(self) -> None:
        """Let the time of all jobs be over, half of their lines run."""

    def refuse_whole(self) -> list[BatchLine]:
        """Return lines of which the provider refuses the whole job; empty where it does so at once or never."""

    def fail_line(self, contains: str) -> None:
        """Let the lines with this prompt end with a refusal, to be seen at the next `run`."""

    def fail_submit(self, kind: FaultKind, *, accepted: bool) -> None:
        """Let the next submit fail in that way, with the job made or not."""

    def charged(self) -> int | None:
        """Return how many lines were billed; None where nobody counts."""


class FakeBatchWorld:
    """The fake."""

    shows_marks = True

    def __init__(self) -> None:
        self.batch = FakeBatchProvider()
        self._failing: list[str] = []

    def run(self) -> None:
        """Let all jobs end."""
        fault = ProviderFault(FaultKind.REJECTED, "scripted", status=400)
        names = [item.custom_id for job in self.batch.jobs.values() for item in job.lines if self._fails(item)]
        self.batch.run(outcomes=dict.fromkeys(names, fault))

    def half(self) -> None:
        """Let half the lines be run: the fake runs whole jobs, so its jobs keep what half of them gave when they are stopped."""
        for job in self.batch.jobs.values():
            job.outcomes |= {item.custom_id: fake_reply("half") for item in job.lines[: len(job.lines) // 2]}

    def expire(self) -> None:
        """Let the time be over."""
        for job in list(self.batch.jobs):
            self.batch.expire(job, answered=len(self.batch.jobs[job].lines) // 2)

    def refuse_whole(self) -> list[BatchLine]:
        """Return nothing: the fake is told to refuse a job."""
        return []

    def fail_line(self, contains: str) -> None:
        """Let these lines fail."""
        self._failing.append(contains)

    def fail_submit(self, kind: FaultKind, *, accepted: bool) -> None:
        """Let the next submit fail."""
        self.batch.fail_submit(ProviderFault(kind, "scripted"), accepted=accepted)

    def charged(self) -> int | None:
        """Nobody counts."""
        return None

    def _fails(self, item: BatchLine) -> bool:
        (part,) = item.call.request.messages[0].parts
        return any(text in part.content.text for text in self._failing)


class SdkBatchWorld:
    """An adapter, its SDK, and an emulator of its own on loopback."""

    def __init__(self, adapter: str, server: EmulatorServer) -> None:
        self._emulator = server.emulator
        self._emulator.batches.pace(delay_s=DELAY_S)
        self._adapter = adapter
        self.shows_marks = adapter != "anthropic"
        self.batch = connect(adapter, server.provider_url("p"))

    def run(self) -> None:
        """Let time pass."""
        self._emulator.clock.advance(DELAY_S)

    def half(self) -> None:
        """Let half the time pass."""
        self._emulator.clock.advance(DELAY_S / 2)

    def expire(self) -> None:
        """Let the window pass: jobs made in this world take longer than that from `slow` on."""
        self._emulator.clock.advance(self._emulator.batches.window_s)

    def slow(self) -> None:
        """Let jobs take twice the time they have."""
        self._emulator.batches.pace(delay_s=2 * self._emulator.batches.window_s)

    def refuse_whole(self) -> list[BatchLine]:
        """Return lines that OpenAI finds fault with when it looks at the file."""
        return [line("a1-7"), line("a1-7")] if self._adapter.startswith("openai") else []

    def fail_line(self, contains: str) -> None:
        """Let these lines fail."""
        self._emulator.script.add(fault_from({"status": 400, "contains": contains}))

    def fail_submit(self, kind: FaultKind, *, accepted: bool) -> None:
        """Let the next submit fail."""
        self._emulator.script.add(fault_from({"on": "create", "charge": accepted} | SCRIPTED[kind]))

    def charged(self) -> int | None:
        """Return how many lines were billed."""
        return self._emulator.truth.count


def connect(adapter: str, base_url: str, *, answer_bytes: int = ANSWER_BYTES, **more) -> BatchProvider:
    """Return an adapter's batch API at an address."""
    settings = ProviderSettings(adapter=adapter, base_url=base_url, api_key=SecretStr(KEY), **({"batch_api": "use"} | more))
    return ADAPTERS[adapter].connect("account", settings, answer_bytes=answer_bytes)
