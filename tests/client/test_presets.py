"""Presets: what they add to a call, what wins over them, and on whose account the call goes."""

import asyncio
import dataclasses
from typing import Any

import aigen
import pytest
from aigen import _requests, presets
from aigen._session import Context
from aigen.testing import FakeDaemon
from aigen.v1 import completion_pb2

NAMES = ("chat", "code_generation", "issue_analysis", "code_review", "fix_suggestion", "explanation")
OWN = aigen.Preset(name="haiku", system="Answer with a haiku.", tier="mini", options={"seed": 7})


def built(prompt: Any = "hi", **options: Any) -> completion_pb2.CompleteRequest:
    """Return the message that a question becomes."""
    return completion_pb2.CompleteRequest.FromString(_requests.complete_bytes(prompt, options, Context(), ""))


def refused(**options: Any) -> aigen.InvalidRequest:
    """Return why a question is refused."""
    with pytest.raises(aigen.InvalidRequest) as caught:
        built(**options)
    return caught.value


def test_the_bundled_presets_are_the_six_tasks():
    """Each has a sentence for people, a system prompt, models to fall back on and limits, and can't be changed."""
    assert tuple(aigen.PRESETS) == NAMES
    for name, preset in aigen.PRESETS.items():
        assert preset.name == name
        assert preset.description
        assert preset.system
        assert len(preset.models) == 3
        assert preset.options
    with pytest.raises(TypeError):
        aigen.PRESETS["chat"] = OWN  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_what_its_data_says(name: str):
    """A call with a preset is the same message as one that spells everything out."""
    preset = aigen.PRESETS[name]
    spelled = {"system": preset.system, "model": preset.models[0], "fallback_models": preset.models[1:], **preset.options}
    assert built(preset=name) == built(preset=preset) == built(**spelled)


def test_equal_calls_with_a_preset_are_equal_bytes():
    """The order of arguments does not matter, and the preset's name is not in the message."""
    one = _requests.complete_bytes("hi", {"preset": "code_review", "seed": 1, "top_p": 0.5}, Context(), "")
    two = _requests.complete_bytes("hi", {"top_p": 0.5, "seed": 1, "preset": "code_review"}, Context(), "")
    assert one == two
    assert b"code_review" not in one


def test_what_the_call_gives_wins():
    """System prompt, limits and sampling of the call replace the preset's; None leaves the preset's in force."""
    message = built(preset=OWN, system="Be brief.", seed=8, max_output_tokens=None, temperature=0.5)
    assert [part.text for part in message.system] == ["Be brief."]
    assert (message.seed, message.temperature, message.model) == (8, 0.5, OWN.models[0])


@pytest.mark.parametrize(
    ("given", "model", "agent", "fallbacks"),
    [
        ({"model": "m"}, "m", "", 0),
        ({"agent": "claude"}, "", "claude", 0),
        ({"fallback_models": ["f"]}, OWN.models[0], "", 1),
        ({"strategy": "primary"}, OWN.models[0], "", 0),
        ({"strategy": "cost_optimized"}, OWN.models[0], "", 2),
    ],
)
def test_models_of_the_call_replace_those_of_the_preset(given: dict[str, Any], model: str, agent: str, fallbacks: int):
    """Who names a model or an agent gets none of the preset's models; who names fallbacks or PRIMARY gets its first alone."""
    message = built(preset=OWN, **given)
    assert (message.model, message.agent, len(message.fallback_models)) == (model, agent, fallbacks)


def test_a_preset_of_ones_own_may_name_its_model():
    """A model among a preset's options stands instead of tier and providers; without both the daemon decides."""
    assert built(preset=dataclasses.replace(OWN, options={"model": "local/x"})).model == "local/x"
    assert built(preset=aigen.Preset(name="plain")) == built()


def test_providers_are_taken_in_their_order():
    """Preferred providers decide which model is asked and which are fallen back on."""
    preset = dataclasses.replace(OWN, tier=aigen.ModelTier.STANDARD, providers=("google", "perplexity"))
    assert preset.models == ("gemini-3.8-flash", "perplexity/sonar")
    assert len(dataclasses.replace(preset, providers=()).models) == 4


@pytest.mark.parametrize(
    ("preset", "field", "says"),
    [
        ("code_reviw", "preset", "did you mean 'code_review'?"),
        ("x", "preset", "chat, code_generation, issue_analysis, code_review, fix_suggestion, explanation"),
        (7, "preset", "a name or a Preset"),
        (dataclasses.replace(OWN, tier="huge"), "preset haiku.tier", "mini, standard, advanced, premium"),
        (dataclasses.replace(OWN, providers=("nobody",)), "preset haiku.providers", "openai, anthropic, google"),
        (dataclasses.replace(OWN, options={"sead": 7}), "sead", "did you mean 'seed'?"),
    ],
)
def test_a_preset_that_cannot_be_is_refused(preset: Any, field: str, says: str):
    """Unknown names, tiers, providers and options are named with what is allowed."""
    error = refused(preset=preset)
    assert error.field == field
    assert says in str(error)


def test_a_misspelt_argument_is_answered_with_preset():
    """`presets` is no option; `preset` is."""
    assert "did you mean 'preset'?" in str(refused(presets="chat"))


def test_expanding_changes_nothing_of_the_callers():
    """The caller's own mapping stays as it was."""
    options = {"preset": OWN, "seed": None}
    presets.expand(options)
    assert options == {"preset": OWN, "seed": None}


def test_the_name_travels_as_task(daemon: FakeDaemon, client: aigen.Client):
    """Complete, stream, estimate and complete_many are accounted to the preset's name, as far as the session names no task."""
    client.complete("hi", preset="chat")
    client.stream("hi", preset=OWN).result()
    client.complete_many(["a", "b"], preset="explanation")
    client.complete(aigen.CompletionRequest("hi", preset="code_review"))
    with client.session(task="mine"):
        client.complete("hi", preset="chat")
    client.complete("hi")
    assert [call.accounting.task for call in daemon.calls] == ["chat", "haiku", "explanation", "code_review", "mine", ""]
    assert daemon.calls[2].request.completions[1].system[0].text == aigen.PRESETS["explanation"].system


def test_session_and_preset_are_both_accounted(daemon: FakeDaemon, client: aigen.Client):
    """What the session says beside the task is kept, and a repeat stays allowed."""
    with client.session("run-1", labels={"team": "x"}):
        client.complete("hi", preset="chat", allow_repeat=True)
    accounting = daemon.calls[0].accounting
    assert (accounting.session, accounting.task, dict(accounting.labels), accounting.allow_repeat) == (
        "run-1",
        "chat",
        {"team": "x"},
        True,
    )


def test_items_of_a_batch_may_have_presets_of_their_own(daemon: FakeDaemon, client: aigen.Client):
    """An item's preset wins over the batch's, and None frees it; the task is the batch's."""
    items = ["a", aigen.CompletionRequest("b", preset="chat"), aigen.CompletionRequest("c", preset=None)]
    client.complete_many(items, preset=OWN)
    systems = ["".join(part.text for part in item.system) for item in daemon.calls[0].request.completions]
    assert systems == [OWN.system, aigen.PRESETS["chat"].system, ""]
    assert daemon.calls[0].accounting.task == "haiku"


def test_both_clients_send_the_same_bytes(daemon: FakeDaemon, client: aigen.Client):
    """The asyncio client expands a preset as the other one does."""

    async def ask() -> None:
        async with aigen.AsyncClient(daemon.socket) as other:
            await other.complete("hi", preset="fix_suggestion")

    client.complete("hi", preset="fix_suggestion")
    asyncio.run(ask())
    assert daemon.calls[0].payload == daemon.calls[1].payload
    assert daemon.calls[0].accounting == daemon.calls[1].accounting


def test_an_unknown_preset_sends_nothing(daemon: FakeDaemon, client: aigen.Client):
    """The refusal comes before the first byte."""
    with pytest.raises(aigen.InvalidRequest):
        client.complete("hi", preset="nope")
    assert not daemon.calls
