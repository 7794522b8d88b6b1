"""What a request needs of a model, and whether a model is known to lack it. What an adapter can't send is the providers' matter."""

from collections.abc import Iterator
from dataclasses import dataclass

from aigend.errors import DomainError, Reason
from aigend.types import (
    Capability,
    CompletionRequest,
    Content,
    Document,
    Image,
    ModelRoute,
    Part,
    ResponseFormatType,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

_BY_CONTENT: dict[type[Content], tuple[str, tuple[Capability, ...]]] = {
    Image: ("image", (Capability.VISION,)),
    Document: ("document", (Capability.RAG, Capability.VISION)),  # read as text, or its pages as pictures: either will do
    ToolCall: ("tool_call", (Capability.FUNCTION_CALLING,)),
    ToolResult: ("tool_result", (Capability.FUNCTION_CALLING,)),
}


@dataclass(frozen=True, slots=True)
class Need:
    """One field that only some models can serve."""

    field: str
    value: str
    any_of: tuple[Capability, ...]  # one is enough


def needs(request: CompletionRequest) -> tuple[Need, ...]:
    """Return what a request needs of its model, field by field."""
    return tuple(_needs(request))


def lack(route: ModelRoute, wanted: tuple[Need, ...]) -> DomainError | None:
    """Return the CAPABILITY_MISSING of the first need that a route is known not to meet; None where it may meet all.

    A model whose capabilities nobody has told is taken at its word: its provider will refuse what it can't do.
    """
    if not route.capabilities:
        return None
    for need in wanted:
        if not any(capability in route.capabilities for capability in need.any_of):
            return _missing(route, need)
    return None


def _needs(request: CompletionRequest) -> Iterator[Need]:
    if request.tools:
        yield Need("tools", str(len(request.tools)), (Capability.FUNCTION_CALLING,))
    wanted = request.response_format
    if wanted is not None and wanted.type is ResponseFormatType.JSON_SCHEMA:
        yield Need("response_format", "JSON_SCHEMA", (Capability.JSON_SCHEMA,))
    if request.reasoning_effort is not None:
        yield Need("reasoning_effort", request.reasoning_effort.upper(), (Capability.REASONING,))
    yield from _needs_of_parts(request.system, "system")
    for place, message in enumerate(request.messages):
        answered = message.role is Role.ASSISTANT
        yield from _needs_of_parts(message.parts, f"messages[{place}].parts", answered=answered)


def _needs_of_parts(parts: tuple[Part, ...], where: str, *, answered: bool = False) -> Iterator[Need]:
    for index, part in enumerate(parts):
        if type(part.content) is Text or (answered and type(part.content) is Document):  # a source that an answer came with
            continue
        if (known := _BY_CONTENT.get(type(part.content))) is not None:
            yield Need(f"{where}[{index}]", known[0], known[1])


def _missing(route: ModelRoute, need: Need) -> DomainError:
    model = f"{route.route.provider}/{route.route.model}"
    named = " or ".join(capability.upper() for capability in need.any_of)
    return DomainError(
        Reason.CAPABILITY_MISSING,
        f"{need.field} ({need.value}) needs {named}, which model {model} does not have",
        field=need.field,
        value=need.value,
        model=model,
        capability=named,
    )
