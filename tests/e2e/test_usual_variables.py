"""A provider whose usual key variable is in the daemon's environment works without any settings, in its own wire format."""

from functools import partial

import aigen
import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import EmulatorServer, serving

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import KEY, Aigend, eventually
from tests.emulator_server import RunningEmulator

pytestmark = pytest.mark.not_on_floor
# name -> key variable, address variable, path of the address, model
USUAL = {
    "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL", "/v1", "gpt-4o-mini"),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "", "claude-sonnet-4-5"),
    "google": ("GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "", "gemini-2.5-flash"),
    "perplexity": ("PERPLEXITY_API_KEY", "PERPLEXITY_BASE_URL", "/perplexity/v1", "perplexity/perplexity/sonar"),
}


def environment(server: EmulatorServer) -> dict[str, str]:
    """Return the usual variables of all four, pointed at an emulator."""
    environ = {}
    for name, (key, address, path, _) in USUAL.items():
        environ |= {key: KEY, address: server.provider_url(name).removesuffix("/v1") + path}
    return environ


def is_cached(client: aigen.Client, prompt: str, *, model: str) -> bool:
    """Return whether a question is answered from the cache; asked too early, it joins the call under way."""
    return client.complete(prompt, model=model).cache_outcome == "hit"


@pytest.fixture
def bare(make_daemon: MakeDaemon, emulator: RunningEmulator) -> Aigend:
    """A daemon that has the four keys in its environment and no providers in its settings."""
    daemon = make_daemon(base_url="", environ=environment(emulator.server))
    assert "api_key" not in daemon.config.read_text()
    return daemon.start()


def test_all_four_answer_stream_and_hit_without_settings(bare: Aigend, emulator: RunningEmulator):
    """Each answers whole and as a stream at a known cost, is billed once a question, and answers again from the cache."""
    client = bare.client()
    for name, (_, _, _, model) in USUAL.items():
        whole = client.complete(f"Say hello to {name}", model=model)
        stream = client.stream(f"Tell {name} a story", model=model)
        text = "".join(stream)
        assert (whole.provider, stream.completion.provider) == (name, name)
        assert text == stream.completion.text != ""
        assert whole.cost_usd_nanos > 0 < stream.completion.cost_usd_nanos
        assert (stream.completion.cache_outcome, stream.completion.usage.output_tokens > 0) == ("miss", True)
        assert client.complete(f"Say hello to {name}", model=model).cache_outcome == "hit"
    assert [charge["provider"] for charge in emulator.charges()] == [name for name in USUAL for _ in range(2)]


def test_first_words_come_while_the_provider_is_still_speaking(make_daemon: MakeDaemon):
    """Nothing on the way waits for more: text is read here before any of the four has said the rest."""
    with serving(Emulator(EmulatorSettings(token_ms=20))) as server:
        client = make_daemon(base_url="", environ=environment(server)).start().client()
        for *_, model in USUAL.values():
            stream = client.stream("[[answer:tokens=20]] bit by bit", model=model)
            pieces = iter(stream)
            first = next(pieces)
            assert server.emulator.gate.in_flight == 1
            rest = list(pieces)
            assert len(rest) > 5
            assert first + "".join(rest) == stream.completion.text


def test_answers_are_read_to_their_end_for_callers_who_left(make_daemon: MakeDaemon):
    """Who leaves a stream of any of the four in its middle has it settled and cached all the same."""
    with serving(Emulator(EmulatorSettings(token_ms=5))) as server:
        client = make_daemon(base_url="", environ=environment(server)).start().client()
        for name, (_, _, _, model) in USUAL.items():
            with client.stream("[[answer:tokens=20]] left early", model=model, request_id=f"left-{name}") as stream:
                next(iter(stream))
            eventually(partial(is_cached, client, "[[answer:tokens=20]] left early", model=model))
            assert [str(entry.state) for entry in client.ledger_entries(request_id=f"left-{name}")] == ["settled"]
        assert server.emulator.stats()["charged"] == len(USUAL)


@pytest.mark.parametrize("name", USUAL)
def test_without_its_variable_a_provider_is_not_there(make_daemon: MakeDaemon, emulator: RunningEmulator, name: str):
    """Control: an address alone makes no provider, and the refusal names the variable that is missing."""
    key, address, _, model = USUAL[name]
    client = make_daemon(base_url="", environ={address: emulator.base_url}).start().client()
    with pytest.raises(aigen.PreconditionFailed, match=key):
        client.complete("Say hello", model=model)
    assert emulator.requests() == 0
