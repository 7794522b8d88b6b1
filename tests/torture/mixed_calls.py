"""The callers of the mixed run: questions of every kind, many of which go wrong, and what was told in return.

Nothing is compared here; that is `money_agreement`.
"""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import aigen

WORKERS = 24
MODELS = (
    "gpt-4o-mini",
    "gpt-4o",
    "anthropic/claude-sonnet-4-5",
    "google/gemini-2.5-pro",
    "perplexity/openai/gpt-5",
)
SESSIONS = ("run-1", "run-2", "run-3", "tight", "halted", "")
SERVICES = ("aigenflow", "docs", "")
TEAMS = ("a", "b", "narrow")
PREFIX = "Stable words that many calls begin with. " * 150  # about 1,500 tokens: worth a prompt cache
PASSING = (  # the next attempt succeeds
    "status=429,times=1",
    "status=429,retry_after=0.01,times=1",
    "status=500,times=1",
    "status=503,times=1",
    "status=529,times=1",
    "status=502,body=<html>Bad Gateway</html>,times=1",
)
LASTING = (
    "status=400",
    "status=500",
    "status=529",
    "status=418",
    "reset",
    "cut_after=2",
    "garbage=broken_json",
    "garbage=html",
    "garbage=empty",
    "garbage=wrong_shape",
)
DOUBTED = ("usage=missing", "usage=negative", "usage=absurd", "usage=nan")
DEFERRABLE = ("gpt-4o-mini", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-pro")
LINE_FAULTS = ("", "", "", "[[fault:status=400]]", "[[fault:status=500]]", "[[fault:usage=missing]]")
STREAM_FAULTS = (
    "",
    "[[fault:cut_after=4]]",
    "[[fault:error_after=1,charge=false]]",  # a provider that fails before it says anything charges nothing, as with a 5xx
    "[[fault:error_after=9]]",
    "[[fault:usage=missing]]",
)
PATIENCE_S = 60.0


@dataclass
class Told:
    """What callers were told."""

    calls: int = 0
    paid: dict[str, tuple[str, int | None]] = field(default_factory=dict)  # ledger entry -> request id, cost
    free: list[tuple[str, dict[str, str], str, int]] = field(default_factory=list)  # outcome, account, cause, saved
    errors: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)

    def answered(self, answer: aigen.Completion, account: dict[str, str]) -> None:
        """Keep what an answer said of money."""
        outcome = str(answer.cache_outcome)
        if outcome in ("hit", "coalesced"):
            self.free.append((outcome, _routed(account, answer), str(answer.saved_cause or ""), answer.saved_usd_nanos or 0))
            return
        entry = (answer.request_id, answer.cost_usd_nanos)
        if self.paid.setdefault(answer.ledger_entry_id, entry) != entry:
            self.surprises.append(f"entry {answer.ledger_entry_id} was told as {self.paid[answer.ledger_entry_id]} and {entry}")

    def failed(self, error: aigen.AigenError) -> None:
        """Count an error; a fault of the daemon itself is a surprise."""
        self.errors[error.reason or type(error).__name__] += 1
        if isinstance(error, aigen.DaemonFault | aigen.DaemonUnavailable):
            self.surprises.append(f"{type(error).__name__}: {error}")


class Callers:
    """Makes so many calls, some at once.

    Args:
        client: How the daemon is asked.
        calls: About how many.
        seed: Decides what is asked.
        unpriced: A model without a price.
    """

    def __init__(self, client: aigen.AsyncClient, *, calls: int, seed: int, unpriced: str) -> None:
        self.told = Told()
        self._client = client
        self._wanted = calls
        self._dice = random.Random(seed)  # noqa: S311 - chooses questions, guards nothing
        self._numbers = itertools.count()
        self._unpriced = unpriced
        self._asked: list[tuple[str, str]] = []  # prompt and model of questions that were answered
        self._kinds: tuple[tuple[float, str, Callable[[dict[str, str]], Awaitable[None]]], ...] = (
            (0.20, "fresh", self._fresh),
            (0.24, "again", self._again),
            (0.08, "at once", self._at_once),
            (0.10, "stream", self._streamed),
            (0.05, "batch", self._batch),
            (0.04, "mode", self._other_mode),
            (0.03, "flex", self._flexible),
            (0.05, "deferred", self._deferred),
            (0.02, "replay", self._replayed),
            (0.02, "left", self._left),
            (0.02, "unpriced", self._without_price),
            (0.06, "prefix", self._prefixed),
            (0.06, "passing fault", self._passing),
            (0.06, "lasting fault", self._lasting),
            (0.04, "doubted usage", self._doubted),
            (0.005, "hang", self._hanging),
        )

    async def run(self) -> Told:
        """Make the calls and return what was told."""
        await asyncio.gather(*(self._work() for _ in range(WORKERS)))
        return self.told

    async def _work(self) -> None:
        while self.told.calls < self._wanted:
            kind, act = self._choice()
            account = self._account()
            self.told.kinds[kind] += 1
            with self._client.session(
                account["session"],
                service=account["service"],
                phase=account["phase"],
                task=account["task"],
                labels={"team": account["team"]} if account["team"] else {},
            ):
                try:
                    await act(account)
                except aigen.AigenError as error:
                    self.told.failed(error)

    def _choice(self) -> tuple[str, Callable[[dict[str, str]], Awaitable[None]]]:
        shares = [share for share, _, _ in self._kinds]
        _, kind, act = self._dice.choices(self._kinds, shares)[0]
        return kind, act

    def _account(self) -> dict[str, str]:
        pick = self._dice.choice
        named = self._dice.random() < 0.7
        return {
            "session": self._dice.choices(SESSIONS, (6, 5, 4, 1, 1, 3))[0],
            "service": pick(SERVICES),
            "phase": pick(("1", "2", "")),
            "task": pick(("summary", "title", "")),
            "team": self._dice.choices(TEAMS, (5, 4, 1))[0] if named else "",
        }

    def _question(self, marker: str = "") -> str:
        length = self._dice.randrange(3, 60)
        return f"question {next(self._numbers)}: {'why ' * length}[[answer:tokens={self._dice.randrange(1, 120)}]]{marker}"

    def _model(self) -> str:
        return self._dice.choices(MODELS, (5, 2, 3, 2, 2))[0]

    async def _ask(self, prompt: str, account: dict[str, str], **options: object) -> aigen.Completion:
        self.told.calls += 1
        given = {"timeout": PATIENCE_S, "max_output_tokens": 300} | options
        answer = await self._client.complete(prompt, **given)  # type: ignore[arg-type]
        self.told.answered(answer, account)
        return answer

    async def _fresh(self, account: dict[str, str]) -> None:
        prompt, model = self._question(), self._model()
        await self._ask(prompt, account, model=model)
        self._asked.append((prompt, model))

    async def _again(self, account: dict[str, str]) -> None:
        if self._asked:
            prompt, model = self._dice.choice(self._asked[-200:])
            await self._ask(prompt, account, model=model)

    async def _at_once(self, account: dict[str, str]) -> None:
        """Ask one new question three times at the same time: one is paid."""
        prompt, model = self._question("[[fault:delay_ms=5]]"), self._model()
        asked = [self._ask(prompt, account, model=model) for _ in range(3)]
        self._count(await asyncio.gather(*asked, return_exceptions=True))

    def _count(self, found: list[aigen.Completion | BaseException]) -> None:
        for each in found:
            if isinstance(each, aigen.AigenError):
                self.told.failed(each)
            elif isinstance(each, BaseException):
                raise each

    async def _streamed(self, account: dict[str, str]) -> None:
        """Ask for a stream: whole, cut, or failing before or after something of the answer was seen."""
        fault = self._dice.choices(STREAM_FAULTS, (12, 1, 1, 1, 1))[0]
        self.told.calls += 1
        again = self._asked and not fault and self._dice.random() < 0.2
        prompt, model = self._dice.choice(self._asked[-200:]) if again else (self._question(fault), self._model())
        async with self._client.stream(prompt, model=model, timeout=PATIENCE_S, max_output_tokens=300) as stream:
            async for _ in stream:
                continue
        if stream.completion is not None:
            self.told.answered(stream.completion, account)

    async def _batch(self, account: dict[str, str]) -> None:
        """Ask five at once in one call: a known question, an equal pair, a new one, and one that fails."""
        twice, model = self._question(), self._model()
        known = self._dice.choice(self._asked)[0] if self._asked else self._question()
        prompts = [known, twice, twice, self._question(), self._question("[[fault:status=400]]")]
        self.told.calls += len(prompts)
        found = await self._client.complete_many(prompts, model=model, timeout=PATIENCE_S, max_output_tokens=300)
        for each in found:
            if isinstance(each, aigen.AigenError):
                self.told.failed(each)
            else:
                self.told.answered(each, account)

    async def _other_mode(self, account: dict[str, str]) -> None:
        prompt, model = self._dice.choice(self._asked) if self._asked else (self._question(), self._model())
        await self._ask(prompt, account, model=model, mode=self._dice.choice(("bypass", "refresh")))

    async def _flexible(self, account: dict[str, str]) -> None:
        """Ask on the cheaper tier: served there, refused where the provider has none, failing as other calls do."""
        model = self._dice.choice(("gpt-4o-mini", "gpt-4o-mini", "google/gemini-2.5-pro", "anthropic/claude-sonnet-4-5"))
        fault = self._dice.choice(("", "", "", f"[[fault:{self._dice.choice(PASSING)}]]", "[[fault:status=400]]"))
        await self._ask(self._question(fault), account, model=model, lane="flex")

    async def _deferred(self, account: dict[str, str]) -> None:
        """Let a pair of questions wait for a batch job, sometimes an equal pair, sometimes with one that fails in it."""
        model = self._dice.choice(DEFERRABLE)
        one = self._question(self._dice.choice(LINE_FAULTS))
        two = one if self._dice.random() < 0.2 else self._question()
        asked = [self._ask(prompt, account, model=model, lane="deferred") for prompt in (one, two)]
        self._count(await asyncio.gather(*asked, return_exceptions=True))

    async def _replayed(self, account: dict[str, str]) -> None:
        """Ask under one request id twice, past the cache: the second is the first one's reply again, word for word."""
        prompt, model = self._question(), self._model()
        first = await self._ask(prompt, account, model=model, mode="bypass")
        second = await self._ask(prompt, account, model=model, mode="bypass", request_id=first.request_id)
        self.told.free.append(("replay", _routed(account, second), "", 0))

    async def _left(self, account: dict[str, str]) -> None:
        """Leave before the answer: the daemon reads it to its end."""
        with contextlib.suppress(aigen.DeadlineExceeded):
            await self._ask(self._question("[[fault:delay_ms=120]]"), account, model=self._model(), timeout=0.05)

    async def _without_price(self, account: dict[str, str]) -> None:
        await self._ask(self._question(), account, model=self._unpriced)

    async def _prefixed(self, account: dict[str, str]) -> None:
        """Ask under a long prefix that comes again and again."""
        system = f"{self._dice.choice('ABC')} {PREFIX}"
        await self._ask(self._question(), account, model=self._model(), system=system)

    async def _passing(self, account: dict[str, str]) -> None:
        await self._ask(self._question(f"[[fault:{self._dice.choice(PASSING)}]]"), account, model=self._model())

    async def _lasting(self, account: dict[str, str]) -> None:
        fallback = [self._model()] if self._dice.random() < 0.2 else None
        prompt = self._question(f"[[fault:{self._dice.choice(LASTING)}]]")
        await self._ask(prompt, account, model="gpt-4o-mini", fallback_models=fallback)

    async def _doubted(self, account: dict[str, str]) -> None:
        await self._ask(self._question(f"[[fault:{self._dice.choice(DOUBTED)}]]"), account, model=self._model())

    async def _hanging(self, account: dict[str, str]) -> None:
        await self._ask(self._question("[[fault:hang]]"), account, model=self._model())


def _routed(account: Mapping[str, str], answer: aigen.Completion) -> dict[str, str]:
    return {**account, "provider": answer.provider, "model": answer.resolved_model}
