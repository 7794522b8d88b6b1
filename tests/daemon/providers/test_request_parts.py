"""What adapters ask of a request's parts."""

import pytest
from aigend.errors import DomainError, Reason
from aigend.providers.request_parts import image_media_type, json_object, kind_of, options, placed
from aigend.types import Document, Image, Part, Text, Thinking, ToolCall, ToolResult

from tests.daemon.providers.asking import request


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (Text("a"), "text"),
        (Image(), "image"),
        (Document(), "document"),
        (Thinking(), "thinking"),
        (ToolCall(id="c", name="n"), "tool_call"),
        (ToolResult(tool_call_id="c"), "tool_result"),
    ],
)
def test_each_kind_has_the_name_of_its_field(content, name: str) -> None:
    """Errors name parts as the contract does."""
    assert kind_of(content) == name


def test_places_are_numbered() -> None:
    """Each part comes with the name of its place."""
    parts = (Part(Text("a")), Part(Text("b")))
    assert list(placed(parts, "system")) == [("system[0]", parts[0]), ("system[1]", parts[1])]


@pytest.mark.parametrize(
    ("image", "media_type"),
    [
        (Image(data=b"\x89PNG\r\n"), "image/png"),
        (Image(data=b"\xff\xd8\xff\xe0"), "image/jpeg"),
        (Image(data=b"GIF89a"), "image/gif"),
        (Image(data=b"RIFF1234WEBP"), "image/webp"),
        (Image(data=b"BM"), ""),
        (Image(data=b"BM", media_type="image/bmp"), ""),
        (Image(data=b"BM", media_type="image/png"), "image/png"),
    ],
)
def test_images_show_what_they_are(image: Image, media_type: str) -> None:
    """The stated type wins, the first bytes come next, and what can't be sent is nothing."""
    assert image_media_type(image) == media_type


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    """The refusal names the field."""
    with pytest.raises(DomainError) as caught:
        json_object(text, "there")
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.INVALID_REQUEST, "there")


def test_no_json_is_an_empty_object() -> None:
    """An empty field says nothing."""
    assert json_object("", "there") == {}


def test_options_pass_unless_they_have_a_field() -> None:
    """An option with a field of its own is refused, and the refusal names that field."""
    assert options(request(provider_options_json='{"b": 1}'), {"a": "alpha"}) == {"b": 1}
    with pytest.raises(DomainError, match="use alpha"):
        options(request(provider_options_json='{"a": 1}'), {"a": "alpha"})
