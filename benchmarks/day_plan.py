"""What is asked on the day that `benchmarks.day` bills: every request with its second, the same in every run.

Written down before anything was tuned on it, and not to be changed for a better figure. Sizes and habits come from what the first
users wrote about their programs, from the demo, and from a public trace; where they say nothing, from the sentence beside the
number.

Pipeline: 20 runs of a business plan in five phases of four agents (`examples/business_plan.py`). Documents grow over the phases:
phase n brings the n-th, and they are as long as the first users' five. The answers of earlier phases are handed on in summaries as
long as the demo's. Two phases of each run, drawn, are read, corrected and asked once more before the run goes on. No two runs
share documents.

Services: 500 calls, 100 to each of five services that the first users describe: a chat over a long system prompt, a strategy
builder, a report writer, a chat of an operator, and tasks over one issue after the other.

Repeats: 10 % of the calls are exact repeats of an earlier one of that day, at a drawn moment within two hours of it. Nothing is
deferred, and no policy sends anything elsewhere.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SEED = 20_260_216  # the date of the first users' wish; one seed, never another
RUNS, REVISED_PHASES = 20, 2
SERVICE_CALLS = 100  # a service
REPEATED = 0.1
DAY_BEGINS_S, LAST_START_S = 9 * 3_600.0, 17 * 3_600.0  # of a working day
REPEATED_WITHIN_S = 7_200.0

# Bytes of the first users' five documents, in their order. A token is four bytes here, as with the emulator.
DOCUMENTS = (14_798, 12_673, 4_485, 9_235, 8_636)
SUMMARY_BYTES = 700  # of each answer handed on: examples/business_plan.py
LONG_ANSWER, SHORT_ANSWER = 800, 150  # tokens: the demo's limit; the mean of the public trace (kvcache-ai/Mooncake, synthetic: 149)
QUESTION_BYTES, NOTE_BYTES = 400, 400  # a paragraph
CHAT_SYSTEM_BYTES = 20_480  # the chat has its prompt cached by a model that keeps none below 4,096 tokens: a quarter more than that

FIRST_TOKEN_S, TOKENS_A_SECOND = 2.0, 50.0  # answers took 2 to 6 s there; longer ones here
READING_S, WRITING_S = (60.0, 240.0), (60.0, 180.0)  # an answer of 600 words, a note of 70
TURN_S = (30.0, 180.0)  # from an answer to the next question of a chat

CLAUDE, CHATGPT = ("anthropic", "claude-sonnet-5-5"), ("openai", "gpt-6.1-sol")
GEMINI, PERPLEXITY = ("google", "gemini-4-argon"), ("perplexity", "perplexity/sonar")
AGENTS = {
    "claude": CLAUDE,
    "chatgpt": CHATGPT,
    "gemini": GEMINI,
    "perplexity": PERPLEXITY,
}  # as daemon/aigend/data/models.yaml has them
PHASES = (("claude",), ("gemini", "perplexity"), ("claude", "chatgpt"), ("chatgpt", "claude"), ("claude",))

Model = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of a conversation: texts that stay from call to call, then one that does not."""

    role: str
    stable: tuple[str, ...]
    changing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of the day; equal ones are exact repeats."""

    model: Model
    service: str
    phase: str = ""
    agent: str = ""
    system: str
    turns: tuple[Said, ...]
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class Moment:
    """A request and when it is sent, in seconds since midnight."""

    at_s: float
    asked: Asked


def day() -> list[Moment]:
    """Return the whole day in the order of time."""
    dice = random.Random(SEED)  # noqa: S311 - drawn once, the same every time
    moments = [*_with_repeats(list(_pipelines(dice)), dice)]
    for service in (_chat, _strategies, _reports, _operations, _issues):
        moments += _with_repeats(list(service(dice)), dice)
    return sorted(moments, key=lambda moment: moment.at_s)


def text(name: str, size: int) -> str:
    """Return words of so many bytes that no other name begins with.

    Example:
        >>> text("plan", 12), len(text("plan", 700))
        ('plan: plan p', 700)
    """
    return (f"{name}: " + f"{name} " * (size // (len(name) + 1) + 1))[:size]


def _with_repeats(moments: list[Moment], dice: random.Random) -> Iterator[Moment]:
    """Yield calls, and exact repeats of drawn ones so that they are a tenth of all."""
    yield from moments
    for moment in dice.sample(moments, round(len(moments) * REPEATED / (1 - REPEATED))):
        yield Moment(moment.at_s + lasts_s(moment.asked) + dice.uniform(0, REPEATED_WITHIN_S), moment.asked)


def lasts_s(asked: Asked) -> float:
    """Return how long its answer takes."""
    return FIRST_TOKEN_S + asked.max_output_tokens / TOKENS_A_SECOND


def _pipelines(dice: random.Random) -> Iterator[Moment]:
    for run in range(RUNS):
        now, revised = dice.uniform(DAY_BEGINS_S, LAST_START_S), dice.sample(range(len(PHASES)), REVISED_PHASES)
        for phase in range(len(PHASES)):
            for note in ("", "corrected") if phase in revised else ("",):
                if note:
                    now += dice.uniform(*READING_S) + dice.uniform(*WRITING_S)
                steps = [_step(run, phase, agent, note) for agent in PHASES[phase]]
                yield from (Moment(now, step) for step in steps)
                now += max(lasts_s(step) for step in steps)


def _step(run: int, phase: int, agent: str, note: str) -> Asked:
    """One question of a phase: documents and results so far, in the order in which they came, then what is asked."""
    stable: list[str] = []
    for number in range(phase + 1):
        stable.append(text(f"run {run} document {number}", DOCUMENTS[number]))
        if number < phase:
            results = [text(f"run {run} result of {number} by {before}", SUMMARY_BYTES) for before in PHASES[number]]
            stable.append("\n".join(results))
    question = text(f"phase {phase} {agent}", QUESTION_BYTES) + (text(f"run {run} {note}", NOTE_BYTES) if note else "")
    return Asked(
        model=AGENTS[agent],
        service="business-plan",
        phase=str(phase + 1),
        agent=agent,
        system=text("part of a business plan", DOCUMENTS[2]),
        turns=(Said("user", tuple(stable), _wanted(question, LONG_ANSWER)),),
        max_output_tokens=LONG_ANSWER,
    )


def _chat(dice: random.Random) -> Iterator[Moment]:
    """Nine conversations of ten turns under one long system prompt."""
    model = ("anthropic", "claude-opus-4-5")
    yield from _conversations(dice, "chat", model, count=9, turns=10, system_bytes=CHAT_SYSTEM_BYTES)


def _operations(dice: random.Random) -> Iterator[Moment]:
    """Eighteen conversations of five turns, about material that the first question brings."""
    model = ("openai", "gpt-4o")
    yield from _conversations(dice, "ChatOpsAdvanced", model, count=18, turns=5, system_bytes=DOCUMENTS[3], material=True)


def _conversations(
    dice: random.Random, service: str, model: Model, *, count: int, turns: int, system_bytes: int, material: bool = False
) -> Iterator[Moment]:
    for number in range(count):
        now, said = dice.uniform(DAY_BEGINS_S, LAST_START_S), list[Said]()
        brought = (text(f"{service} material {number}", dice.choice(DOCUMENTS)),) if material else ()
        for turn in range(turns):
            question = text(f"{service} {number} question {turn}", QUESTION_BYTES)
            said.append(Said("user", brought if turn == 0 else (), _wanted(question, SHORT_ANSWER)))
            asked = Asked(
                model=model,
                service=service,
                system=text(f"{service} system", system_bytes),
                turns=tuple(said),
                max_output_tokens=SHORT_ANSWER,
            )
            yield Moment(now, asked)
            said.append(Said("assistant", (), text(f"{service} {number} answer {turn}", SHORT_ANSWER * 4)))
            now += lasts_s(asked) + dice.uniform(*TURN_S)


def _strategies(dice: random.Random) -> Iterator[Moment]:
    """Single questions to a small model, each about material of its own."""
    yield from _singles(dice, "StrategyBuilder", ("openai", "gpt-4o-mini"))


def _reports(dice: random.Random) -> Iterator[Moment]:
    """Single questions to a larger one."""
    yield from _singles(dice, "NarrativeReport", ("openai", "gpt-4o"))


def _singles(dice: random.Random, service: str, model: Model) -> Iterator[Moment]:
    for number in range(round(SERVICE_CALLS * (1 - REPEATED))):
        material = text(f"{service} material {number}", dice.choice(DOCUMENTS))
        question = _wanted(text(f"{service} question", QUESTION_BYTES), LONG_ANSWER)
        asked = Asked(
            model=model,
            service=service,
            system=text(f"{service} system", DOCUMENTS[3]),
            turns=(Said("user", (material,), question),),
            max_output_tokens=LONG_ANSWER,
        )
        yield Moment(dice.uniform(DAY_BEGINS_S, LAST_START_S), asked)


def _issues(dice: random.Random) -> Iterator[Moment]:
    """Fifteen issues with six tasks each, one after the other over the same material, at two providers in turn."""
    models = (("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-4o"))
    for number in range(15):
        now, material = dice.uniform(DAY_BEGINS_S, LAST_START_S), text(f"issue {number}", dice.choice(DOCUMENTS))
        for task in ("chat", "code", "analysis", "review", "fix", "explanation"):
            asked = Asked(
                model=models[number % 2],
                service="issues",
                system=text("issues system", DOCUMENTS[4]),
                turns=(Said("user", (material,), _wanted(text(f"issue {number} {task}", QUESTION_BYTES), LONG_ANSWER)),),
                max_output_tokens=LONG_ANSWER,
            )
            yield Moment(now, asked)
            now += lasts_s(asked)


def _wanted(question: str, tokens: int) -> str:
    """Return a question that says how long the emulator's answer shall be."""
    return f"{question} [[answer:tokens={tokens}]]"


def totals(moments: Sequence[Moment]) -> dict[str, int]:
    """Return how many calls the day has, and how many of them are exact repeats."""
    pipeline = sum(moment.asked.service == "business-plan" for moment in moments)
    repeats = len(moments) - len({moment.asked for moment in moments})
    return {"pipeline": pipeline, "services": len(moments) - pipeline, "repeats": repeats, "total": len(moments)}
