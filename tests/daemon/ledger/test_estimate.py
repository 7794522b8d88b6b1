"""The bound that a reservation holds."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from aigend.ledger.prices.estimate import (
    FORMAT_OVERHEAD,
    IMAGE_TOKENS,
    MOST_PAGES,
    PAGE_TOKENS,
    SEARCH_TOKENS,
    SEARCHES_A_CALL,
    UNSEEN_PAGES,
    estimate_input_tokens,
    searches_at_most,
    text_tokens,
    upper_bound_nanos,
)
from aigend.ledger.prices.pricing import PriceEntry, Tier, cost_nanos
from aigend.types import (
    CompletionRequest,
    Content,
    Document,
    Image,
    Message,
    Part,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Thinking,
    TokenUsage,
    Tool,
    ToolCall,
    ToolResult,
)
from hypothesis import given
from hypothesis import strategies as st

RECORDED = Path(__file__).parents[4] / "shared" / "data" / "recorded_exchanges.jsonl"
PRICE = PriceEntry(
    input=Decimal(3),
    cache_read=Decimal("0.3"),
    cache_write_5m=Decimal("3.75"),
    cache_write_1h=Decimal(6),
    output=Decimal(15),
    tiers=(
        Tier(above=200_000, input=Decimal(6), cache_write_5m=Decimal("7.5"), cache_write_1h=Decimal(12), output=Decimal("22.5")),
    ),
)


def _request(*contents: Content, **fields: object) -> CompletionRequest:
    return CompletionRequest(messages=(Message(Role.USER, tuple(Part(content) for content in contents)),), **fields)


def _recorded_chats():
    """Requests of recorded chat completions with the prompt tokens that were billed for them."""
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        exchange = json.loads(line)
        if "chat/completions" in exchange["url"] and exchange["status"] == 200 and (billed := _billed(exchange)) is not None:
            yield _parsed(json.loads(exchange["request"])), billed


def _billed(exchange: dict) -> int | None:
    """Prompt tokens of the last usage that a recorded answer carries."""
    texts = [exchange["response"]]
    if exchange["sse"]:
        texts = [line[5:] for line in exchange["response"].splitlines() if line.startswith("data:") and "{" in line]
    usages = [usage for text in texts if (usage := json.loads(text).get("usage"))]
    return usages[-1]["prompt_tokens"] if usages else None


def _parsed(body: dict) -> CompletionRequest:
    """A recorded request in our own words."""
    messages = tuple(Message(Role.USER, tuple(_contents(message))) for message in body["messages"])
    functions = [tool["function"] for tool in body.get("tools", ()) if "function" in tool]
    tools = tuple(
        Tool(
            name=function["name"],
            description=function.get("description") or "",
            parameters_json_schema=json.dumps(function.get("parameters", {})),
        )
        for function in functions
    )
    wanted = body.get("response_format")
    form = ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema=json.dumps(wanted)) if wanted else None
    return CompletionRequest(messages=messages, tools=tools, response_format=form)


def _contents(message: dict):
    content = message.get("content") or ""
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        match part["type"]:
            case "text":
                yield Part(Text(part["text"]))
            case "image_url":
                yield Part(Image(url="https://example.com/x.png"))
            case _:
                yield Part(Document(url="https://example.com/x.pdf"))
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield Part(ToolCall(id=call["id"], name=function["name"], arguments_json=function["arguments"]))


@pytest.mark.skipif(not RECORDED.exists(), reason="no recorded exchanges beside the project")
def test_no_recorded_chat_exceeds_its_estimate():
    """For every recorded chat completion the estimate is at least the prompt tokens that the provider billed."""
    pairs = list(_recorded_chats())
    assert len(pairs) >= 50
    assert [(estimate_input_tokens(request), billed) for request, billed in pairs if estimate_input_tokens(request) < billed] == []


@given(text=st.text())
def test_no_byte_level_tokenizer_exceeds_the_bound(text):
    """A tokenizer that finds nothing to merge gives one token a byte: exactly the bound."""
    worst = len(text.encode("utf-8", "surrogatepass"))
    assert text_tokens(text) == worst
    assert estimate_input_tokens(_request(Text(text))) >= worst


def test_half_a_token_a_byte_would_be_overshot():
    """Control: a tokenizer that splits digits exceeds half a token a byte, so a smaller divisor is no bound."""
    figures = "3.14159 1,234,567"
    tokens_of_a_digit_splitter = len(figures)
    assert tokens_of_a_digit_splitter > len(figures) / 2
    assert text_tokens(figures) >= tokens_of_a_digit_splitter


@pytest.mark.parametrize(
    "fields",
    [
        {"system": (Part(Text("x" * 1_000)),)},
        {"tools": (Tool(name="look_up", description="x" * 500, parameters_json_schema="y" * 500),)},
        {"response_format": ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema="x" * 1_000, schema_name="plan")},
        {"provider_options_json": "x" * 1_000},
    ],
)
def test_everything_that_is_sent_counts(fields):
    """System text, tools, response format and options raise the estimate by at least their bytes."""
    plain = _request(Text("Hi"))
    assert estimate_input_tokens(replace(plain, **fields)) >= estimate_input_tokens(plain) + 1_000


@pytest.mark.parametrize(
    "content",
    [
        ToolCall(id="1", name="f", arguments_json="x" * 1_000),
        ToolResult(tool_call_id="1", text="x" * 1_000),
        Thinking(text="x" * 500, signature="y" * 500),
        Document(data=b"x" * 1_000, media_type="text/plain"),
        Document(data=b"x" * 1_000, media_type="application/msword"),
    ],
)
def test_every_kind_of_part_counts(content):
    """Each part counts with at least its bytes."""
    assert estimate_input_tokens(_request(content)) >= 1_000


def test_pictures_count_by_their_models_rule():
    """A picture costs its model's most; an unknown model the dearest of all."""
    picture = _request(Image(url="https://example.com/a.png"))
    nothing = estimate_input_tokens(_request(Text("")))
    assert estimate_input_tokens(picture, model="gpt-4o") - nothing == IMAGE_TOKENS
    assert estimate_input_tokens(picture, model="gpt-4o-mini-2024-07-18") - nothing == 48_169
    assert estimate_input_tokens(picture) - nothing == 48_169


@pytest.mark.parametrize(
    ("document", "pages"),
    [
        (Document(data=b"%PDF /Type /Pages /Count 12", media_type="application/pdf"), 12),
        (Document(data=b"%PDF /Type /Page /Type /Page /Type/Pages", media_type=""), 2),
        (Document(data=b"%PDF" + b"x" * 4_996, media_type="application/pdf"), 6),
        (Document(data=b"%PDF /Count 999999", media_type="application/pdf"), MOST_PAGES),
        (Document(url="https://example.com/a.pdf"), UNSEEN_PAGES),
    ],
)
def test_documents_count_by_pages(document, pages):
    """A PDF counts the pages that its page tree names, else by its size; an address counts a hundred."""
    assert estimate_input_tokens(_request(document)) - estimate_input_tokens(_request(Text(""))) == pages * PAGE_TOKENS


def test_context_caps_the_estimate():
    """What does not fit the model's context is refused free of charge, so it need not be held."""
    assert estimate_input_tokens(_request(Text("x" * 10_000)), context_tokens=4_000) == 4_000
    assert estimate_input_tokens(_request(Text("x")), context_tokens=4_000) < 4_000


def test_searches_are_held_where_they_may_happen():
    """A model that searches, or options that ask for it, hold searches and what they add to the input."""
    plain = _request(Text("x"))
    asking = replace(plain, provider_options_json='{"web_search_options":{}}')
    assert searches_at_most(plain, searching=False) == 0
    assert searches_at_most(plain, searching=True) == SEARCHES_A_CALL
    assert searches_at_most(asking, searching=False) == SEARCHES_A_CALL
    assert estimate_input_tokens(asking) >= SEARCHES_A_CALL * SEARCH_TOKENS
    price = replace(PRICE, search_fee=Decimal("0.01"), request_fee=Decimal("0.005"))
    extra = upper_bound_nanos(input_tokens=1, max_output_tokens=1, price=price, searches=3) - upper_bound_nanos(
        input_tokens=1, max_output_tokens=1, price=PRICE
    )
    assert extra == 35_000_000


def test_response_format_without_schema_has_its_frame():
    """Plain JSON mode costs its frame."""
    plain = _request(Text("x"))
    json_mode = replace(plain, response_format=ResponseFormat(type=ResponseFormatType.JSON))
    assert estimate_input_tokens(json_mode) == estimate_input_tokens(plain) + FORMAT_OVERHEAD


def test_bound_is_unknown_without_a_price():
    """Without a price, or without the rate of a bucket that will be used, nothing can be held."""
    assert upper_bound_nanos(input_tokens=1, max_output_tokens=1, price=None) is None
    assert upper_bound_nanos(input_tokens=1, max_output_tokens=1, price=PriceEntry(input=Decimal(1))) is None
    assert upper_bound_nanos(input_tokens=1, max_output_tokens=1, price=PriceEntry(output=None)) is None
    assert upper_bound_nanos(input_tokens=1_000, max_output_tokens=0, price=PriceEntry(input=Decimal(1))) == 1_000_000


def test_fractions_are_rounded_up():
    """A bound is never rounded down."""
    assert upper_bound_nanos(input_tokens=1, max_output_tokens=0, price=PriceEntry(input=Decimal("0.0001"))) == 1


@given(
    counts=st.lists(st.integers(0, 400_000), min_size=4, max_size=4),
    output=st.integers(0, 100_000),
    slack=st.integers(0, 100_000),
    marked=st.booleans(),
)
def test_no_bill_within_its_limits_exceeds_the_bound(counts, output, slack, marked):
    """Whatever bucket the tokens land in and whatever tier they reach, the bill stays within the bound."""
    uncached, read, write_5m, write_1h = counts
    usage = TokenUsage(
        input=uncached, cache_read=read, cache_write_5m=write_5m, cache_write_1h=write_1h if marked else 0, output=output
    )
    bound = upper_bound_nanos(
        input_tokens=usage.total_input + slack,
        max_output_tokens=output + slack,
        price=PRICE,
        cache_ttl_s=3_600 if marked else None,
    )
    assert cost_nanos(usage, PRICE) <= bound


def test_bound_without_the_dearest_tier_is_overshot():
    """Control: at the base rates alone a long request would cost more than what was held."""
    usage = TokenUsage(input=300_000, output=1_000)
    held = upper_bound_nanos(input_tokens=300_000, max_output_tokens=1_000, price=replace(PRICE, tiers=()))
    assert cost_nanos(usage, PRICE) > held


def test_the_sources_of_an_answer_count_as_lines_of_text():
    """A document by its address is pages in the user's turn, and in the model's own a line that names it."""
    source = Part(Document(url="https://example.com/a", title="A page"))
    asked, said = (
        estimate_input_tokens(CompletionRequest(messages=(Message(role, (source,)),))) for role in (Role.USER, Role.ASSISTANT)
    )
    assert asked - said > UNSEEN_PAGES * 1_000
    assert said < 1_000
