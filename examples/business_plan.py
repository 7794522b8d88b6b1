"""A five-phase pipeline of four agents that writes a business plan, run twice: what the second pass costs and what it saves.

Framing (claude), research (gemini and perplexity, in parallel), strategy (claude and chatgpt, in parallel), writing (chatgpt,
then claude) and review (claude). Each phase gets the summary of the earlier ones as context. The daemon is found as always:
AIGEN_SOCKET or the usual places. Options: `--check` fails unless the second pass is free and identical, `--estimate` says
what a run can cost at most and calls nobody.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import aigen

IDEA = "A subscription that plans, orders and delivers the weekly menu of small day-care centres, allergies included."
SYSTEM = "You write one part of a business plan. Be concrete, name assumptions, and keep to what the earlier phases found."
SERVICE = "business-plan"
SUMMARY_CHARACTERS = 700  # of each answer, handed on as context
MAX_OUTPUT_TOKENS = 800


@dataclass(frozen=True)
class Step:
    """One question to one agent."""

    agent: str
    task: str
    question: str


@dataclass(frozen=True)
class Phase:
    """Steps that do not need each other's answers."""

    number: int
    name: str
    steps: tuple[Step, ...]


PHASES = (
    Phase(1, "framing", (Step("claude", "frame", "State the problem, the customer, the promise and what is left out."),)),
    Phase(
        2,
        "research",
        (
            Step("gemini", "market", "Estimate the market: segments, size, growth, and how each figure was reached."),
            Step("perplexity", "competition", "Name competitors and substitutes, their prices, and the rules that apply."),
        ),
    ),
    Phase(
        3,
        "strategy",
        (
            Step("claude", "positioning", "Choose the positioning, the pricing and the first hundred customers."),
            Step("chatgpt", "operations", "Lay out kitchen, delivery, staff and the three largest risks."),
        ),
    ),
    Phase(
        4,
        "writing",
        (
            Step("chatgpt", "plan", "Write the plan: summary, market, offer, operations, team."),
            Step("claude", "finances", "Write the financial part: costs, revenue and break-even over three years."),
        ),
    ),
    Phase(5, "review", (Step("claude", "review", "Review the whole: contradictions, missing proof, what a bank would ask."),)),
)


@dataclass(frozen=True)
class Result:
    """A step with its answer."""

    phase: Phase
    step: Step
    completion: aigen.Completion


def main(argv: Sequence[str] | None = None) -> int:
    """Run the pipeline twice, or estimate it, and return the exit code."""
    options = _parser().parse_args(argv)
    try:
        with aigen.Client() as client:
            if options.estimate:
                return print_estimate(client, passes=1)
            first, second = run_pass(client, "run-1"), run_pass(client, "run-2")
            print_totals(client, {"run-1": first, "run-2": second})
            return check(client, first, second) if options.check else 0
    except KeyboardInterrupt:
        return 130
    except aigen.AigenError as error:
        print(f"business_plan.py: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Write a business plan twice and show what the second pass saved.")
    parser.add_argument("--check", action="store_true", help="fail unless the second pass is identical, all hits, and free")
    parser.add_argument("--estimate", action="store_true", help="show what a run can cost at most and call nobody")
    return parser


def run_pass(client: aigen.Client, session: str) -> list[Result]:
    """Return the answers of one pass through all phases, printed as they come."""
    print(f"\n{session}\n{_ROW.format('phase', 'agent', 'model', 'in', 'out', 'cost', 'outcome', 'latency')}")
    results: list[Result] = []
    for phase in PHASES:
        done = run_phase(client, session, phase, context=summary(results))
        for result in done:
            print(_row(result), flush=True)
        results += done
    return results


def run_phase(client: aigen.Client, session: str, phase: Phase, *, context: str) -> list[Result]:
    """Return the answers of one phase; its steps run at the same time."""
    requests = [request(phase, step, context) for step in phase.steps]
    with client.session(session, service=SERVICE, phase=phase.number, labels={"phase": phase.name}):
        answers = client.complete_many(requests)
    return [Result(phase, step, _answered(answer)) for step, answer in zip(phase.steps, answers, strict=True)]


def request(phase: Phase, step: Step, context: str) -> aigen.CompletionRequest:
    """Return the question of a step, what is the same in many calls first."""
    earlier = f"What the earlier phases found:\n{context}\n\n" if context else ""
    prompt = f"{earlier}Phase {phase.number}, {phase.name}: {step.question}"
    system = f"{SYSTEM}\nThe idea: {IDEA}"
    return aigen.CompletionRequest(prompt, system=system, agent=step.agent, max_output_tokens=MAX_OUTPUT_TOKENS)


def summary(results: Sequence[Result]) -> str:
    """Return the beginning of each answer so far, cut at a word, as context for the next phase."""
    return "\n".join(f"- {item.phase.name}, {item.step.task}: {_shortened(item.completion.text)}" for item in results)


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SUMMARY_CHARACTERS else words[:SUMMARY_CHARACTERS].rpartition(" ")[0] + " …"


def _answered(answer: aigen.Completion | aigen.AigenError) -> aigen.Completion:
    if isinstance(answer, aigen.AigenError):
        raise answer
    return answer


_ROW = "  {:<12} {:<11} {:<24} {:>7} {:>7} {:>11} {:>9} {:>11}"


def _row(result: Result) -> str:
    answer = result.completion
    paid = answer.ledger_entry_id != ""
    tokens = (answer.usage.total_input_tokens, answer.usage.output_tokens) if paid else (0, 0)
    outcome = answer.cache_outcome.upper() if answer.cache_outcome else "unknown"
    name = f"{result.phase.number} {result.phase.name}"
    latency = f"{answer.timings.total_us / 1_000:,.2f} ms"
    return _ROW.format(name, result.step.agent, answer.resolved_model, *tokens, dollars(answer.cost_usd_nanos), outcome, latency)


def dollars(nanos: int | None) -> str:
    """Return an amount with six digits behind the point; unknown is said, not shown as 0."""
    return "unknown" if nanos is None else f"${nanos / 1_000_000_000:,.6f}"


def print_totals(client: aigen.Client, passes: dict[str, list[Result]]) -> None:
    """Print what the ledger says about both passes: calls, tokens, cost, and what was saved by which cause."""
    print("\nTotals, as the ledger has them")
    for session, results in passes.items():
        totals = client.stats(session=session).totals
        tokens = f"{totals.usage.total_input_tokens:,} tokens in, {totals.usage.output_tokens:,} out"
        hits = f"{totals.hit_count} of {len(results)} calls were hits"
        print(f"  {session}: {tokens}, cost {dollars(totals.cost_usd_nanos)}, saved {dollars(totals.saved_usd_nanos)}; {hits}")
        for item in totals.savings:
            cause = item.cause or "an unknown cause"
            print(f"         saved by {cause}: {dollars(item.saved_usd_nanos)} in {item.call_count} calls")


def check(client: aigen.Client, first: Sequence[Result], second: Sequence[Result]) -> int:
    """Return 0 where the second pass is what a cache promises, else say what is not and return 1."""
    failures = list(_failures(client, first, second))
    for failure in failures:
        print(f"business_plan.py: {failure}", file=sys.stderr)
    if not failures:
        print(f"\nChecked: {len(second)} answers byte-identical, every call a HIT, cost 0, saved more than 0.")
    return 1 if failures else 0


def _failures(client: aigen.Client, first: Sequence[Result], second: Sequence[Result]) -> Iterator[str]:
    for before, after in zip(first, second, strict=True):
        name, answer = f"{after.phase.name}/{after.step.agent}", after.completion
        if answer.text.encode() != before.completion.text.encode() or answer.parts != before.completion.parts:
            yield f"{name}: the second answer differs from the first"
        if answer.cache_outcome is not aigen.CacheOutcome.HIT:
            yield f"{name}: outcome {answer.cache_outcome}, not HIT"
        if answer.cost_usd_nanos != 0:
            yield f"{name}: cost {dollars(answer.cost_usd_nanos)}, not 0"
        if not answer.saved_usd_nanos or answer.saved_usd_nanos <= 0:
            yield f"{name}: saved {answer.saved_usd_nanos} nano-dollars, not more than 0"
    yield from _ledger_failures(client, first, second)


def _ledger_failures(client: aigen.Client, first: Sequence[Result], second: Sequence[Result]) -> Iterator[str]:
    """Compare the sums of the answers with those of the ledger."""
    for session, results in (("run-1", first), ("run-2", second)):
        totals = client.stats(session=session).totals
        cost = sum(item.completion.cost_usd_nanos or 0 for item in results)
        saved = sum(item.completion.saved_usd_nanos or 0 for item in results)
        if (totals.call_count, totals.cost_usd_nanos or 0, totals.saved_usd_nanos) != (len(results), cost, saved):
            yield (
                f"{session}: the ledger has {totals.call_count} calls, cost {dollars(totals.cost_usd_nanos)} and saved"
                f" {dollars(totals.saved_usd_nanos)}; the answers say {len(results)}, {dollars(cost)} and {dollars(saved)}"
            )


def print_estimate(client: aigen.Client, *, passes: int) -> int:
    """Print what the paid pass can cost at most: later phases are estimated with contexts as long as they can be."""
    total, unknown = 0, False
    context = ""
    for phase in PHASES:
        for step in phase.steps:
            route = client.estimate(request(phase, step, context)).routes[0]
            total += passes * (route.max_cost_usd_nanos or 0)
            unknown = unknown or route.max_cost_usd_nanos is None
            name = f"{phase.number} {phase.name}"
            print(f"  {name:<12} {step.agent:<11} {route.model:<24} at most {dollars(route.max_cost_usd_nanos)}")
        context += "".join(f"- {phase.name}, {step.task}: {'word ' * (SUMMARY_CHARACTERS // 5)}\n" for step in phase.steps)
    print(f"  at most {dollars(total)}" + (" for the calls whose price is known" if unknown else "") + "; the second pass is free")
    return 0


if __name__ == "__main__":
    sys.exit(main())
