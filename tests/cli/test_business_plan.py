"""The demo pipeline: two passes over five phases, and a check that can't be fooled."""

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from aigen.v1 import completion_pb2, usage_pb2

from tests.cli.scripted_daemon import ScriptedDaemon, ScriptedError

PRICE = 7_000_000


class Provider:
    """Answers a question always alike, the second time from its cache, and keeps the sums that a ledger would."""

    def __init__(self, daemon: ScriptedDaemon) -> None:
        self.daemon = daemon
        self.known: dict[bytes, completion_pb2.CompleteResponse] = {}
        self.sums: dict[str, usage_pb2.UsageTotals] = {}
        self.touch: Callable[[completion_pb2.CompleteResponse], None] = lambda _answer: None
        daemon.answers["BatchComplete"] = self.batch
        daemon.answers["GetStats"] = lambda asked: usage_pb2.GetStatsResponse(totals=self.sums.get(asked.filter.session))
        daemon.answers["EstimateCost"] = completion_pb2.EstimateCostResponse(
            estimates=[{"provider": "p", "model": "m", "max_cost_usd_nanos": PRICE}]
        )

    def batch(self, asked: completion_pb2.BatchCompleteRequest) -> completion_pb2.BatchCompleteResponse:
        """Answer all requests of a batch."""
        answers = [self.complete(request) for request in asked.completions]
        return completion_pb2.BatchCompleteResponse(results=[{"response": answer} for answer in answers])

    def complete(self, request: completion_pb2.CompleteRequest) -> completion_pb2.CompleteResponse:
        """Answer one request and count it under its session."""
        key = request.SerializeToString(deterministic=True)
        answer = completion_pb2.CompleteResponse()
        if key in self.known:
            answer.CopyFrom(self.known[key])
            answer.MergeFrom(
                completion_pb2.CompleteResponse(cache_outcome="CACHE_OUTCOME_HIT", saved_usd_nanos=PRICE, saved_cause=1)
            )
            answer.cost_usd_nanos = 0
            answer.ledger_entry_id = ""
            self.touch(answer)
        else:
            text = f"Answer {hashlib.sha256(key).hexdigest()} " + "with many words " * 60
            answer = completion_pb2.CompleteResponse(text=text, parts=[{"text": text}], resolved_model="m", ledger_entry_id="1")
            answer.MergeFrom(completion_pb2.CompleteResponse(cache_outcome="CACHE_OUTCOME_MISS", cost_usd_nanos=PRICE))
            self.known[key] = answer
        self._count(answer)
        return answer

    def _count(self, answer: completion_pb2.CompleteResponse) -> None:
        sums = self.sums.setdefault(self.daemon.accounts[-1].session, usage_pb2.UsageTotals())
        hit = answer.cache_outcome == completion_pb2.CACHE_OUTCOME_HIT
        sums.call_count += 1
        sums.hit_count += hit
        sums.cost_usd_nanos += answer.cost_usd_nanos
        if hit and not sums.savings:
            sums.savings.add(cause=completion_pb2.SAVINGS_CAUSE_CACHE)
        if hit:
            sums.savings[0].call_count += 1
            sums.savings[0].saved_usd_nanos += answer.saved_usd_nanos


@pytest.fixture
def plan(daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example as a module, its client pointed at the scripted daemon."""
    monkeypatch.setenv("AIGEN_SOCKET", str(daemon.socket))
    path = Path(__file__).parents[2] / "examples" / "business_plan.py"
    spec = importlib.util.spec_from_file_location("business_plan", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "business_plan", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def provider(daemon: ScriptedDaemon) -> Provider:
    """A provider behind the scripted daemon."""
    return Provider(daemon)


def test_second_pass_is_checked_and_free(provider, plan, capsys):
    """Two passes make eight paid calls and eight hits, and the totals name what the cache saved."""
    assert plan.main(["--check"]) == 0
    shown = capsys.readouterr().out
    assert len(provider.known) == 8
    assert shown.count(" HIT ") == 8
    assert "cost $0.056000, saved $0.000000; 0 of 8 calls were hits" in shown
    assert "cost $0.000000, saved $0.056000; 8 of 8 calls were hits" in shown
    assert "saved by cache: $0.056000 in 8 calls" in shown


def test_later_phases_get_the_earlier_ones_as_context(provider, plan, daemon):
    """Each phase's prompt holds the beginning of every earlier answer, research runs as one batch of two agents."""
    assert plan.main([]) == 0
    batches = daemon.asked["BatchComplete"][:5]
    assert [[request.agent for request in batch.completions] for batch in batches] == [
        ["claude"],
        ["gemini", "perplexity"],
        ["claude", "chatgpt"],
        ["chatgpt", "claude"],
        ["claude"],
    ]
    answers = list(provider.known.values())
    last = batches[-1].completions[0]
    assert all(" ".join(answer.text.split())[:100] in last.prompt for answer in answers[:7])
    assert (last.service, last.phase) == ("business-plan", "5")


LIES = {
    "text": lambda answer: setattr(answer, "text", answer.text + "!"),
    "parts": lambda answer: answer.parts.add(text="!"),
    "outcome": lambda answer: setattr(answer, "cache_outcome", completion_pb2.CACHE_OUTCOME_MISS),
    "cost": lambda answer: setattr(answer, "cost_usd_nanos", 1),
    "unknown cost": lambda answer: answer.ClearField("cost_usd_nanos"),
    "saved": lambda answer: setattr(answer, "saved_usd_nanos", 0),
}


@pytest.mark.parametrize("lie", LIES)
def test_check_notices(provider, plan, capsys, lie):
    """Control: a second pass that differs, misses, costs or saves nothing fails the check."""
    provider.touch = LIES[lie]
    assert plan.main(["--check"]) == 1
    assert "framing/claude" in capsys.readouterr().err


def test_check_notices_a_ledger_that_differs(provider, plan, daemon, capsys):
    """Control: sums of the ledger that are not those of the answers fail the check."""
    daemon.answers["GetStats"] = usage_pb2.GetStatsResponse(totals={"call_count": 8, "cost_usd_nanos": 8 * PRICE + 1})
    assert plan.main(["--check"]) == 1
    assert "run-1: the ledger has 8 calls, cost $0.056000" in capsys.readouterr().err


def test_estimate_calls_nobody(provider, plan, daemon, capsys):
    """The estimate sums the bound of eight calls and completes none."""
    assert plan.main(["--estimate"]) == 0
    assert "at most $0.056000" in capsys.readouterr().out
    assert len(daemon.asked["EstimateCost"]) == 8
    assert "BatchComplete" not in daemon.asked


def test_failed_step_is_said(provider, plan, daemon, capsys):
    """An error of the daemon ends the run with 1 and is named, for the call and for one item."""
    status = {"code": 8, "message": "limit 1 USD"}
    daemon.answers["BatchComplete"] = completion_pb2.BatchCompleteResponse(results=[{"status": status}])
    assert plan.main([]) == 1
    daemon.answers["BatchComplete"] = ScriptedError("RESOURCE_EXHAUSTED", "BUDGET_EXCEEDED", "budget demo")
    assert plan.main([]) == 1
    assert "LimitReached: limit 1 USD" in (shown := capsys.readouterr().err)
    assert "BudgetExceeded: BUDGET_EXCEEDED: budget demo" in shown
