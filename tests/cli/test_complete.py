"""`aigenctl complete`: prompt in, answer out, its cost beside it."""

import json
import time

import pytest
from aigen.v1 import completion_pb2

ANSWER = completion_pb2.CompleteResponse(
    text="Blue, mostly.",
    finish_reason="FINISH_REASON_STOP",
    provider="anthropic",
    resolved_model="claude-sonnet-4-5",
    usage={"input_tokens": 1_200, "output_tokens": 30},
    cache_key=bytes(range(32)),
    cache_outcome="CACHE_OUTCOME_MISS",
    cost_usd_nanos=4_050_000,
    cost_basis="COST_BASIS_PRICED",
    ledger_entry_id="1",
    attempt_count=1,
    timings={"total_us": 512_000},
)


@pytest.fixture
def answered(daemon):
    """The daemon answers, whole or as a stream."""
    daemon.answers["Complete"] = ANSWER
    pieces = [completion_pb2.StreamCompleteResponse(text_delta=text) for text in ("Blue, ", "mostly.")]
    thought = completion_pb2.StreamCompleteResponse(thinking_delta="hm")
    call = completion_pb2.StreamCompleteResponse(tool_call={"id": "c1", "name": "look"})
    last = completion_pb2.StreamCompleteResponse(response=ANSWER)
    daemon.answers["StreamComplete"] = [thought, *pieces, call, last]
    return daemon


def test_answer_and_summary_are_kept_apart(answered, run):
    """The answer alone goes to standard output, one line about outcome and cost to standard error."""
    result = run("complete", "What colour?", "--agent", "claude")
    assert result.exit_code == 0
    assert result.stdout == "Blue, mostly.\n"
    assert result.stderr == "MISS · anthropic/claude-sonnet-4-5 · 1,200 in, 30 out · cost $0.0041 · 512.0 ms\n"


def test_quiet_leaves_the_summary_out(answered, run):
    """With --quiet standard error stays empty."""
    assert run("complete", "What colour?", "-q").stderr == ""


@pytest.mark.parametrize("arguments", [[], ["-"]], ids=["none", "dash"])
def test_prompt_comes_from_standard_input(answered, run, arguments):
    """Without a prompt, or for a dash, standard input is the prompt, less its last line end."""
    run("complete", *arguments, stdin="Line one\nLine two\n")
    assert answered.asked["Complete"][0].prompt == "Line one\nLine two"


def test_standard_input_must_be_utf8(answered, run):
    """Bytes that are no UTF-8 are refused with their place."""
    result = run("complete", stdin=b"abc\xff")
    assert result.exit_code == 2
    assert "byte 3" in result.stderr


def test_every_option_reaches_the_request(answered, run):
    """What shapes the answer is in the request, on whose account it goes beside it."""
    arguments = ["--system", "Be brief", "--model", "gpt-4o", "--agent", "chatgpt", "--service", "shop", "--phase", "2"]
    arguments += [
        "--fallback",
        "gpt-4o-mini",
        "--max-output-tokens",
        "50",
        "--temperature",
        "0.5",
        "--seed",
        "7",
        "--sample-index",
        "1",
    ]
    arguments += ["--mode", "READ_ONLY", "--namespace", "n1", "--normalization", "exact", "--ttl", "90m"]
    arguments += [
        "--session",
        "run-1",
        "--task",
        "plan",
        "--label",
        "team=a",
        "--label",
        "k=v=w",
        "--allow-repeat",
        "--request-id",
        "id-1",
    ]
    assert run("complete", "Q", *arguments).exit_code == 0
    asked = answered.asked["Complete"][0]
    assert (asked.prompt, asked.system[0].text, asked.model, asked.agent) == ("Q", "Be brief", "gpt-4o", "chatgpt")
    assert (asked.service, asked.phase, list(asked.fallback_models)) == ("shop", "2", ["gpt-4o-mini"])
    assert (asked.max_output_tokens, asked.temperature, asked.seed, asked.sample_index) == (50, 0.5, 7, 1)
    assert (asked.mode, asked.namespace, asked.normalization) == (
        completion_pb2.CACHE_MODE_READ_ONLY,
        "n1",
        completion_pb2.NORMALIZATION_EXACT,
    )
    assert asked.ttl.seconds == 5_400
    account = answered.accounts[0]
    assert (account.session, account.task, dict(account.labels), account.allow_repeat) == (
        "run-1",
        "plan",
        {"team": "a", "k": "v=w"},
        True,
    )


def test_json_has_amounts_twice(answered, run):
    """With --json the answer is one object: nano-dollars as a number, dollars as text, unknown as null."""
    shown = json.loads(run("complete", "Q", "--json").stdout)
    assert (shown["text"], shown["cache_outcome"], shown["cache_key"]) == ("Blue, mostly.", "miss", bytes(range(32)).hex())
    assert (shown["cost_usd_nanos"], shown["cost_usd"]) == (4_050_000, "0.004050000")
    assert (shown["saved_usd_nanos"], shown["saved_usd"]) == (None, None)


def test_stream_prints_text_as_it_comes(answered, run):
    """With --stream standard output is the same text, and the summary follows."""
    result = run("complete", "Q", "--stream")
    assert result.stdout == "Blue, mostly.\n"
    assert result.stderr.startswith("MISS · ")


def test_stream_as_json_is_one_line_an_event(answered, run):
    """With --stream --json each event is one object under the name of the contract, the whole answer last."""
    events = [json.loads(line) for line in run("complete", "Q", "--stream", "--json").stdout.splitlines()]
    assert [next(iter(event)) for event in events] == ["thinking_delta", "text_delta", "text_delta", "tool_call", "response"]
    assert events[1]["text_delta"] == "Blue, "
    assert events[-1]["response"]["cost_usd"] == "0.004050000"


def test_warnings_and_savings_are_said(daemon, run):
    """Warnings come before the summary, which names what was saved, by what, and an odd end."""
    answer = completion_pb2.CompleteResponse(
        cache_outcome="CACHE_OUTCOME_HIT", saved_usd_nanos=4_050_000, saved_cause="SAVINGS_CAUSE_CACHE"
    )
    answer.cost_usd_nanos = 0
    answer.warnings.append("budget demo has passed 75 %")
    daemon.answers["Complete"] = answer
    lines = run("complete", "Q").stderr.splitlines()
    assert lines[0] == "warning: budget demo has passed 75 %"
    assert "cost $0.00 · saved $0.0041 (cache)" in lines[1]
    assert "ended by unknown" in lines[1]


def test_answers_can_not_steer_a_terminal(daemon, at_terminal):
    """Control characters of an answer are shown, not obeyed, where standard output is a terminal."""
    daemon.answers["Complete"] = completion_pb2.CompleteResponse(text="a\x1b[31mb", finish_reason="FINISH_REASON_STOP")
    code, shown = at_terminal("complete", typed="Q\n\x04")
    assert code == 0
    assert "a\\x1b[31mb" in shown
    assert "end it with Ctrl-D" in shown
    assert daemon.asked["Complete"][0].prompt == "Q"


def test_answers_are_untouched_for_programs(daemon, run):
    """Where standard output is no terminal, every character is kept."""
    daemon.answers["Complete"] = completion_pb2.CompleteResponse(text="a\x1b[31mb", finish_reason="FINISH_REASON_STOP")
    assert run("complete", "Q").stdout == "a\x1b[31mb\n"


ESTIMATES = completion_pb2.EstimateCostResponse(
    estimates=[
        {"provider": "openai", "model": "gpt-4o", "input_tokens": 12, "max_output_tokens": 800, "max_cost_usd_nanos": 8_030_000},
        {"provider": "local", "model": "tiny", "input_tokens": 12, "max_output_tokens": 800},
    ]
)


def test_estimate_calls_nobody(daemon, run):
    """With --estimate the upper bound of each route is shown, unknown as unknown, and nothing is completed."""
    daemon.answers["EstimateCost"] = ESTIMATES
    shown = run("complete", "Q", "--estimate").stdout
    assert "$0.0080" in shown
    assert "unknown" in shown
    assert "not in the cache" in shown
    assert "Complete" not in daemon.asked
    assert json.loads(run("complete", "Q", "--estimate", "--json").stdout)["routes"][1]["max_cost_usd"] is None


@pytest.mark.parametrize("option", ["--model", "--agent", "--namespace"])
def test_empty_name_is_refused(answered, run, option):
    """A variable of the shell that is not set does not silently become the default."""
    result = run("complete", "What colour?", option, "")
    assert result.exit_code == 2
    assert "it is empty" in result.stderr


def test_deferred_call_has_time_and_an_id_to_come_back_under(answered, run):
    """Its caller is told, before he waits, under which id he gets the answer later, and his patience has no end."""
    result = run("complete", "Q", "--lane", "deferred", "--complete-by", "36h")
    assert result.exit_code == 0, result.output
    asked = answered.asked["Complete"][0]
    assert (asked.lane, asked.complete_by.ToSeconds() > time.time() + 35 * 3_600) == (completion_pb2.LANE_DEFERRED, True)
    assert result.stderr.splitlines()[0].endswith(f"come back with --request-id {answered.request_ids[0]}")
    assert answered.patience == [None] or answered.patience[0] > 86_400


@pytest.mark.parametrize("words", [["--quiet"], ["--json"], ["--request-id", "mine"]])
def test_deferred_call_says_nothing_where_nobody_asked_or_knows(answered, run, words):
    """Standard error stays as it is promised, and an id that was given is not repeated; its own patience holds."""
    result = run("complete", "Q", "--lane", "deferred", "--timeout", "50", *words)
    assert "--request-id" not in result.stderr
    assert 0 < answered.patience[0] < 60


def test_lane_and_strategy_reach_the_request(answered, run):
    """A lane that does not wait takes no latest moment; without one nothing is said of lanes."""
    assert run("complete", "Q", "--lane", "FLEX", "--strategy", "cost_optimized").exit_code == 0
    assert run("complete", "Q").exit_code == 0
    lanes = [(asked.lane, asked.strategy) for asked in answered.asked["Complete"]]
    assert lanes == [(completion_pb2.LANE_FLEX, completion_pb2.STRATEGY_COST_OPTIMIZED), (0, 0)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--complete-by", "36h"], "--complete-by without --lane deferred"),
        (["--lane", "flex", "--complete-by", "36h"], "--complete-by without --lane deferred"),
        (["--lane", "deferred", "--complete-by", "2020-01-01"], "--complete-by is '2020-01-01', which has passed"),
        (["--lane", "later"], "'later' is not one of 'interactive', 'flex', 'deferred'"),
    ],
)
def test_lane_that_can_not_be_kept_is_refused(answered, run, words, said):
    """The message says what is allowed, and nobody is asked."""
    result = run("complete", "Q", *words)
    assert (result.exit_code, said in " ".join(result.stderr.replace("│", " ").split())) == (2, True)
    assert not answered.asked["Complete"]
