"""The addresses beside the providers' own: the script of faults, the clock, what was served so far, the list of models."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aigen_emulator.batches import Batches
from aigen_emulator.clock import ClockError, MovableClock
from aigen_emulator.faults import Fault, FaultError, Script, fault_from
from aigen_emulator.limits import Gate


def control_app(
    script: Script, clock: MovableClock, stats: Callable[[], dict[str, Any]], models: bytes, *, gate: Gate, batches: Batches
) -> Starlette:
    """Return the application for what is no completion.

    Args:
        script: The faults in waiting.
        clock: What the rate limit and the prompt caches go by.
        stats: Returns what was served so far.
        models: Body of the list of models.
        gate: Holds the rate limits.
        batches: Says how long batch jobs take.
    """

    async def put_script(request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
            faults = [fault_from(_flat(item)) for item in (asked if isinstance(asked, list) else [asked])]
        except ValueError as error:
            return JSONResponse({"error": {"message": f"the script is not understood: {error}"}}, status_code=400)
        for fault in faults:
            script.add(fault)
        return JSONResponse({"waiting": len(script.waiting)})

    async def get_script(_: Request) -> Response:
        return JSONResponse({"waiting": [_shown(fault) for fault in script.waiting]})

    async def delete_script(_: Request) -> Response:
        script.clear()
        return JSONResponse({"waiting": 0})

    async def post_clock(request: Request) -> Response:
        try:
            _set(clock, json.loads(await request.body()))
        except ValueError as error:
            return JSONResponse({"error": {"message": f"the clock is not understood: {error}"}}, status_code=400)
        return JSONResponse({"now_s": clock(), "rate": clock.rate})

    async def get_clock(_: Request) -> Response:
        return JSONResponse({"now_s": clock(), "rate": clock.rate})

    async def get_stats(_: Request) -> Response:
        return JSONResponse(stats())

    async def get_models(_: Request) -> Response:
        return Response(models, media_type="application/json")

    async def not_found(request: Request, _: Exception) -> Response:
        text = f"Invalid URL ({request.method} {request.url.path})"
        return JSONResponse(
            {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}}, status_code=404
        )

    routes = [
        Route("/emulator/script", put_script, methods=["POST"]),
        Route("/emulator/script", get_script, methods=["GET"]),
        Route("/emulator/script", delete_script, methods=["DELETE"]),
        Route("/emulator/clock", post_clock, methods=["POST"]),
        Route("/emulator/clock", get_clock, methods=["GET"]),
        *_bounds(gate, batches),
        Route("/emulator/stats", get_stats),
        Route("/v1/models", get_models),
        Route("/p/{provider}/v1/models", get_models),
    ]
    return Starlette(routes=routes, exception_handlers={404: not_found})


def _bounds(gate: Gate, batches: Batches) -> list[Route]:
    """Return the addresses that set how much the provider takes, and how long its batch jobs take."""

    async def post_limits(request: Request) -> Response:
        try:
            gate.limit(json.loads(await request.body()))
        except ValueError as error:
            return JSONResponse({"error": {"message": f"the limits are not understood: {error}"}}, status_code=400)
        return JSONResponse(gate.limits)

    async def post_batches(request: Request) -> Response:
        try:
            _set_pace(batches, json.loads(await request.body()))
        except ValueError as error:
            return JSONResponse({"error": {"message": f"the pace is not understood: {error}"}}, status_code=400)
        return JSONResponse({"delay_s": batches.delay_s, "window_s": batches.window_s})

    return [
        Route("/emulator/limits", post_limits, methods=["POST"]),
        Route("/emulator/batches", post_batches, methods=["POST"]),
    ]


def _set(clock: MovableClock, asked: Any) -> None:
    """Move the clock on by `advance_s`, and let it run at `rate` from then on."""
    unknown = asked.keys() - {"advance_s", "rate"} if isinstance(asked, dict) else {repr(asked)}
    if unknown:
        raise ClockError(f"the change has {min(unknown)}; allowed: an object with advance_s, rate or both")
    if "advance_s" in asked:
        clock.advance(asked["advance_s"])
    if "rate" in asked:
        clock.run(asked["rate"])


def _set_pace(batches: Batches, asked: Any) -> None:
    """Let new batch jobs take `delay_s`, and have `window_s`."""
    unknown = asked.keys() - {"delay_s", "window_s"} if isinstance(asked, dict) else {repr(asked)}
    if unknown:
        raise ValueError(f"it has {min(unknown)}; allowed: an object with delay_s, window_s or both")
    batches.pace(**asked)


def _flat(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fault's keys with those of its `match` object beside them."""
    if not isinstance(item, Mapping):
        raise FaultError(f"a fault is {item!r}; allowed: an object")
    match = item.get("match") or {}
    if not isinstance(match, Mapping):
        raise FaultError(f"match is {match!r}; allowed: an object with model, provider or contains")
    return {key: value for key, value in item.items() if key != "match"} | dict(match)


def _shown(fault: Fault) -> dict[str, Any]:
    default = Fault()
    values = {name: getattr(fault, name) for name in Fault.__slots__}
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if value != getattr(default, name)
    }
