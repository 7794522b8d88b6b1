"""The emulator over HTTP: bills, faults, control addresses and limits."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import serving

from tests.emulator_server import RunningEmulator


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """Return a plain HTTP client."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
        yield client


async def ask(http: httpx2.AsyncClient, base_url: str, prompt: str = "hello", *, headers=None, **more) -> httpx2.Response:
    """Ask for a completion."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]} | more
    return await http.post(f"{base_url}/chat/completions", json=body, headers=headers)


async def in_flight_at_rest(http: httpx2.AsyncClient, emulator: RunningEmulator) -> int:
    """Return how many requests are in flight, after a while in which those that other tests have left may end."""
    for _ in range(500):
        in_flight = (await http.get(f"{emulator.control_url}/stats")).json()["in_flight"]
        if in_flight == 0:
            break
        await asyncio.sleep(0.01)  # the server is in another thread
    return in_flight


async def test_truth_says_whose_call_was_billed(http: httpx2.AsyncClient, emulator: RunningEmulator) -> None:
    """A charge names request, attempt, provider, model and tokens as the answer does."""
    headers = {"x-client-request-id": "r-1", "x-aigen-attempt": "2"}
    usage = (await ask(http, emulator.provider_url("claude"), "[[answer:cached=4]] hi", headers=headers)).json()["usage"]
    (charge,) = emulator.charges()
    assert (charge["request_id"], charge["attempt"], charge["provider"], charge["model"]) == ("r-1", 2, "claude", "gpt-4o")
    assert (charge["input_tokens"], charge["cached_tokens"]) == (usage["prompt_tokens"], 4)
    assert (charge["output_tokens"], charge["status"]) == (usage["completion_tokens"], 200)


async def test_without_a_name_the_model_is_the_provider(http: httpx2.AsyncClient, emulator: RunningEmulator) -> None:
    """Calls to the plain address are billed under the model's name."""
    await ask(http, emulator.base_url, headers={"x-aigen-attempt": "first"})
    assert [(charge["provider"], charge["attempt"]) for charge in emulator.charges()] == [("gpt-4o", None)]


async def test_faults_come_from_header_marker_and_script(http: httpx2.AsyncClient, emulator: RunningEmulator) -> None:
    """Each of the three ways fails a request with OpenAI's own error, and none is billed."""
    by_header = await ask(http, emulator.base_url, headers={"x-emulator-fault": "status=401"})
    by_marker = await ask(http, emulator.base_url, "go [[fault:status=429,retry_after=3]]")
    await http.post(
        f"{emulator.control_url}/script", json=[{"status": 503, "match": {"contains": "hello"}, "headers": {"X-A": "b"}}]
    )
    by_script = await ask(http, emulator.base_url)
    assert [answer.status_code for answer in (by_header, by_marker, by_script)] == [401, 429, 503]
    assert by_header.json()["error"]["code"] == "invalid_api_key"
    assert by_marker.headers["retry-after"] == "3"
    assert by_script.headers["x-a"] == "b"
    assert all(answer.headers["x-request-id"].startswith("req_") for answer in (by_header, by_marker, by_script))
    assert emulator.charges() == []


async def test_a_charged_error_is_in_the_truth(http: httpx2.AsyncClient, emulator: RunningEmulator) -> None:
    """A provider that bills its own error is scripted so."""
    assert (await ask(http, emulator.base_url, "[[fault:status=500,charge=true]]")).status_code == 500
    assert [charge["status"] for charge in emulator.charges()] == [500]


async def test_the_script_can_be_read_and_emptied(http: httpx2.AsyncClient, emulator: RunningEmulator) -> None:
    """What waits is shown, and a DELETE empties it."""
    url = f"{emulator.control_url}/script"
    assert (await http.post(url, json={"status": 500, "times": 3})).json() == {"waiting": 1}
    assert (await http.get(url)).json() == {"waiting": [{"status": 500, "times": 3}]}
    assert (await http.delete(url)).json() == {"waiting": 0}
    assert (await ask(http, emulator.base_url)).status_code == 200
    assert await in_flight_at_rest(http, emulator) == 0


@pytest.mark.parametrize("script", ["[", '{"oops": 1}', "[7]", '{"match": 3}'])
async def test_a_bad_script_is_refused(http: httpx2.AsyncClient, emulator: RunningEmulator, script: str) -> None:
    """A script that is not understood is refused whole, with the reason."""
    answer = await http.post(f"{emulator.control_url}/script", content=script)
    assert answer.status_code == 400
    assert "not understood" in answer.json()["error"]["message"]


async def test_bad_markers_and_bodies_are_refused(http: httpx2.AsyncClient, emulator: RunningEmulator) -> None:
    """A typo in a marker or a body that is no request is told, never ignored."""
    assert "allowed" in (await ask(http, emulator.base_url, "[[fault:stauts=500]]")).json()["error"]["message"]
    assert "allowed" in (await ask(http, emulator.base_url, "[[answer:words=5]]")).json()["error"]["message"]
    for content in (b"{", b"[]"):
        answer = await http.post(f"{emulator.base_url}/chat/completions", content=content)
        assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_unknown_addresses_are_not_found(http: httpx2.AsyncClient, emulator: RunningEmulator) -> None:
    """Other addresses answer as OpenAI's do."""
    answer = await http.get(f"{emulator.base_url}/nothing")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error")
    assert (await http.get(f"{emulator.provider_url('x')}/models")).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["reset", "cut_after=2", "garbage=html", "garbage=empty", "drip_ms=1", "hang", "error_after=1"])
async def test_every_misdeed_ends(http: httpx2.AsyncClient, emulator: RunningEmulator, fault: str, *, stream: bool) -> None:
    """A misbehaving exchange frees its place, bills once, and the next one is served."""
    with contextlib.suppress(httpx2.TransportError):
        await http.post(
            f"{emulator.base_url}/chat/completions",
            json={"model": "m", "stream": stream, "max_tokens": 9, "messages": [{"role": "user", "content": f"[[fault:{fault}]]"}]},
            timeout=0.2 if fault == "hang" else 10,
        )
    assert len(emulator.charges()) == 1
    assert (await ask(http, emulator.base_url)).status_code == 200


async def test_a_client_that_leaves_ends_a_drip(http: httpx2.AsyncClient, emulator: RunningEmulator) -> None:
    """Nobody is dripped at after leaving."""
    with pytest.raises(httpx2.ReadTimeout):
        await http.post(
            f"{emulator.base_url}/chat/completions",
            json={"model": "m", "messages": [{"role": "user", "content": "[[fault:drip_ms=5000]]"}]},
            timeout=0.1,
        )
    while emulator.emulator.gate.in_flight:  # noqa: ASYNC110 - a counter of another thread
        await asyncio.sleep(0.01)  # the server is in another thread


async def test_body_and_status_can_be_anything(http: httpx2.AsyncClient, emulator: RunningEmulator) -> None:
    """A scripted body is sent as it is."""
    for status in (200, 502):
        answer = await ask(http, emulator.base_url, headers={"x-emulator-fault": json.dumps({"status": status, "body": "<html>"})})
        assert (answer.status_code, answer.text) == (status, "<html>")


async def test_limits_answer_429(http: httpx2.AsyncClient) -> None:
    """Above its rate the provider refuses, says when to come back, and bills nothing."""
    emulator = Emulator(EmulatorSettings(per_minute=1))
    with serving(emulator) as server:
        first, second = [await ask(http, server.base_url) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(second.headers["retry-after"]) >= 59
    assert emulator.truth.count == 1


async def test_settings_delay_key_and_prompt_cache(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    """A key is demanded, repeated prefixes are cached, and thinking takes its time."""
    settings = EmulatorSettings(
        api_key="secret", prompt_cache=True, first_token_ms=1, token_ms=0.01, truth=tmp_path / "t", answer_tokens=20
    )
    with serving(Emulator(settings)) as server:
        assert (await ask(http, server.base_url)).status_code == 401
        key = {"authorization": "Bearer secret"}
        prompt = "lorem ipsum " * 1_000
        answers = [await ask(http, server.base_url, prompt, headers=key) for _ in range(2)]
        streamed = await ask(http, server.base_url, prompt, headers=key, stream=True)
    assert [answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in answers] == [0, 2_944]
    assert streamed.text.endswith("data: [DONE]\n\n")
