"""`aigenctl complete`: one prompt in, one answer out. The answer goes to standard output, what it cost to standard error."""

import sys
from datetime import datetime, timedelta
from math import inf
from typing import Annotated, Any
from uuid import uuid4

import aigen
import typer

from aigenctl import connection, render
from aigenctl.columns import print_csv
from aigenctl.machine import as_json, as_json_line
from aigenctl.options import (
    AccountLabelsOption,
    AccountPhaseOption,
    AccountSessionOption,
    AccountTaskOption,
    JsonOption,
    SocketOption,
    age,
    all_filled,
    coming,
    filled,
    given,
    labels,
    one_form,
    real,
    whole,
)

MOST = 1_000_000  # output tokens, and sample index
SHORTEST_TTL, LONGEST_TTL = timedelta(seconds=1), timedelta(days=366)

PromptArgument = Annotated[str | None, typer.Argument(metavar="[PROMPT]", help="The prompt; without it, or for -, standard input.")]
SystemOption = Annotated[str | None, typer.Option("--system", help="System prompt.")]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", callback=filled, help="Model: id, alias or provider/model.")]
AgentOption = Annotated[str | None, typer.Option("--agent", "-a", callback=filled, help="Agent, a name for a provider and model.")]
PresetOption = Annotated[str | None, typer.Option("--preset", callback=filled, help="Task preset; aigenctl presets lists them.")]
ServiceOption = Annotated[str | None, typer.Option("--service", callback=filled, help="Service that asks; its policy applies.")]
FallbackOption = Annotated[
    list[str] | None, typer.Option("--fallback", metavar="MODEL", callback=all_filled, help="Model to try next; repeatable.")
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-output-tokens", parser=whole(1, MOST), metavar="INTEGER", help="Most tokens of the answer, 1 to 1,000,000."
    ),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(
        "--temperature", parser=real("a number from 0 to 2", low=0, high=2), metavar="NUMBER", help="Sampling temperature, 0 to 2."
    ),
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", parser=whole(-(2**63), 2**63 - 1), metavar="INTEGER", help="Seed for sampling.")
]
SampleOption = Annotated[
    int | None,
    typer.Option(
        "--sample-index", parser=whole(0, MOST), metavar="INTEGER", help="0 to 1,000,000; another index is another cache entry."
    ),
]
ModeOption = Annotated[aigen.CacheMode | None, typer.Option("--mode", help="How the cache takes part.", case_sensitive=False)]
NamespaceOption = Annotated[str | None, typer.Option("--namespace", callback=filled, help="Namespace of the cache.")]
NormalizationOption = Annotated[
    aigen.Normalization | None, typer.Option("--normalization", help="Which differences don't matter.", case_sensitive=False)
]
TtlOption = Annotated[
    str | None, typer.Option("--ttl", metavar="AGE", help="How long the answer may be kept, such as 90m or 7d; 366d at most.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        parser=real("seconds above 0", low=0, high=inf, above=True),
        metavar="NUMBER",
        help="Your patience, in seconds.",
    ),
]
RequestIdOption = Annotated[
    str | None, typer.Option("--request-id", callback=filled, help="Id of an earlier call, to get its answer again.")
]
LaneOption = Annotated[
    aigen.Lane | None,
    typer.Option(
        "--lane",
        help="At once, at the provider's cheaper tier (flex), or in a batch job within a day (deferred).",
        case_sensitive=False,
    ),
]
CompleteByOption = Annotated[
    str | None,
    typer.Option(
        "--complete-by", metavar="TIME", help="With --lane deferred, the latest moment: ISO 8601, or an age from now such as 36h."
    ),
]
StrategyOption = Annotated[
    aigen.Strategy | None, typer.Option("--strategy", help="How the models that may answer are ordered.", case_sensitive=False)
]
AllowRepeatOption = Annotated[bool, typer.Option("--allow-repeat", help="Pay again if the outcome of the id's call is unknown.")]
StreamOption = Annotated[bool, typer.Option("--stream", help="Print the answer as it comes; with --json one line an event.")]
EstimateOption = Annotated[bool, typer.Option("--estimate", help="Show what it would cost at most; nothing is called.")]
EstimateCsvOption = Annotated[bool, typer.Option("--csv", help="With --estimate: print one CSV line a route.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No summary on standard error.")]


def complete(
    ctx: typer.Context,
    prompt: PromptArgument = None,
    *,
    system: SystemOption = None,
    model: ModelOption = None,
    agent: AgentOption = None,
    preset: PresetOption = None,
    service: ServiceOption = None,
    phase: AccountPhaseOption = None,
    session: AccountSessionOption = None,
    task: AccountTaskOption = None,
    label: AccountLabelsOption = None,
    fallback: FallbackOption = None,
    strategy: StrategyOption = None,
    lane: LaneOption = None,
    complete_by: CompleteByOption = None,
    max_output_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    seed: SeedOption = None,
    sample_index: SampleOption = None,
    mode: ModeOption = None,
    namespace: NamespaceOption = None,
    normalization: NormalizationOption = None,
    ttl: TtlOption = None,
    timeout: TimeoutOption = None,
    request_id: RequestIdOption = None,
    allow_repeat: AllowRepeatOption = False,
    stream: StreamOption = False,
    estimate: EstimateOption = False,
    quiet: QuietOption = False,
    csv: EstimateCsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Answer one prompt and print the answer; where it came from and what it cost is said on standard error."""
    options = given(system=system, model=model, agent=agent, service=service, phase=phase, fallback_models=fallback)
    options |= given(max_output_tokens=max_output_tokens, temperature=temperature, seed=seed, sample_index=sample_index)
    options |= given(
        mode=mode,
        namespace=namespace,
        normalization=normalization,
        ttl=age(ttl, "--ttl", shortest=SHORTEST_TTL, longest=LONGEST_TTL),
    )
    options |= given(preset=preset, strategy=strategy, lane=lane, complete_by=_latest(complete_by, lane))
    account = given(task=task, labels=labels(label))
    _check_csv(csv=csv, estimate=estimate, json_text=json_text)
    asked = _prompt(prompt)
    with connection.daemon(ctx, socket, as_json=json_text) as client, client.session(session, **account):
        if estimate:
            _show_estimate(client.estimate(asked, **options, **given(timeout=timeout)), csv=csv, json_text=json_text)
            return
        options |= given(timeout=timeout, request_id=request_id, allow_repeat=allow_repeat or None)
        _allow_to_leave(options, told=not quiet and not json_text)
        if stream:
            answer = _streamed(client, asked, options, json_text=json_text)
        else:
            answer = client.complete(asked, **options)
            _write((as_json(answer) if json_text else _printable(answer.text)) + "\n")
        if not quiet and not json_text:
            _summarize(answer)


def _latest(complete_by: str | None, lane: aigen.Lane | None) -> datetime | None:
    if complete_by is not None and lane is not aigen.Lane.DEFERRED:
        raise typer.BadParameter("--complete-by without --lane deferred; allowed: with it, because other lanes don't wait")
    return coming(complete_by, "--complete-by")


def _allow_to_leave(options: dict[str, Any], *, told: bool) -> None:
    """Give a deferred call as much time as it takes, and an id that is known before: the user may leave and come back under it."""
    if options.get("lane") is not aigen.Lane.DEFERRED:
        return
    options.setdefault("timeout", inf)
    if "request_id" not in options:
        options["request_id"] = str(uuid4())
        if told:
            sys.stderr.write(f"aigenctl: this may take a day; leave and come back with --request-id {options['request_id']}\n")


def _prompt(given_prompt: str | None) -> str:
    """Return the prompt that was typed, or what standard input holds, its last line end cut off."""
    if given_prompt not in (None, "-"):
        return str(given_prompt)
    if sys.stdin.isatty():
        sys.stderr.write("aigenctl: reading the prompt from standard input; end it with Ctrl-D\n")
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"standard input is not UTF-8 at byte {error.start}; allowed: UTF-8 text") from error


def _streamed(client: aigen.Client, prompt: str, options: dict[str, Any], *, json_text: bool) -> aigen.Completion:
    """Print an answer as it comes, text as it is or one JSON object an event, and return the whole."""
    with client.stream(prompt, **options) as stream:
        for event in stream.events():
            if json_text:
                _write(as_json_line(_named(event)) + "\n")
            elif isinstance(event, aigen.TextDelta):
                _write(_printable(event.text))
        if not json_text:
            _write("\n")
        return stream.result()


def _write(text: str) -> None:
    """Write without the filter of escape sequences that Typer's own echo has, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _named(event: aigen.StreamEvent) -> dict[str, object]:
    """Return an event under the name that the contract gives it."""
    if isinstance(event, aigen.TextDelta):
        return {"text_delta": event.text}
    if isinstance(event, aigen.ThinkingDelta):
        return {"thinking_delta": event.text}
    return {"response" if isinstance(event, aigen.Completion) else "tool_call": event}


def _check_csv(*, csv: bool, estimate: bool, json_text: bool) -> None:
    one_form(csv=csv, json_text=json_text)
    if csv and not estimate:
        raise typer.BadParameter("--csv without --estimate; allowed: with --estimate, whose table it prints")


def _show_estimate(result: aigen.Estimate, *, csv: bool, json_text: bool) -> None:
    if json_text:
        typer.echo(as_json(result))
    elif csv:
        print_csv(aigen.CostEstimate, result.routes)
    else:
        render.show(render.estimate(result))


def _printable(text: str) -> str:
    """Return an answer as it is for programs, and harmless for terminals."""
    return render.harmless(text) if sys.stdout.isatty() else text


def _summarize(answer: aigen.Completion) -> None:
    for warning in answer.warnings:
        sys.stderr.write(f"warning: {render.harmless(warning)}\n")
    sys.stderr.write(render.completion_summary(answer) + "\n")
