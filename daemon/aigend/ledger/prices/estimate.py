"""What a call may cost at most, before it is made: the bound that a reservation holds.

A bound below the bill would let concurrent calls overshoot a budget, so every rule here errs upwards. No tokenizer runs: each
provider has its own, and a wrong one would err both ways.

Text counts one token a UTF-8 byte. Every tokenizer in use is byte-level or falls back to bytes, so no token covers less than one
byte and the bound is strict. A smaller divisor is not one: figures, keys and rare scripts reach one token a byte (some tokenizers
split each digit). Prose needs a quarter of it; as output is dearer and is reserved at its limit, the slack is small beside the
whole reservation, and it is given back when the call settles.
"""

import re
from decimal import ROUND_CEILING, Decimal

from aigend.ledger.prices.pricing import PriceEntry, dearest
from aigend.types import CompletionRequest, Content, Document, Image, Part, Role, Text, Thinking, Tool, ToolCall, ToolResult

REQUEST_OVERHEAD = 16  # opening and closing of the conversation, the answer's opening
MESSAGE_OVERHEAD = 8  # role and separators of one message
PART_OVERHEAD = 4
TOOLS_OVERHEAD = 800  # the system prompt that some providers add where there are tools
TOOL_OVERHEAD = 32  # the frame in which one tool is shown to the model
FORMAT_OVERHEAD = 64  # the frame of a response format
IMAGE_TOKENS = 12_000  # one picture at the finest resolution that is billed
IMAGE_TOKENS_BY_MODEL = (("gpt-4o-mini", 48_169),)  # 2,833 and 5,667 for each of at most 8 tiles
PAGE_TOKENS = 8_000  # text and picture of one page
MOST_PAGES = 1_000
UNSEEN_PAGES = 100  # of a document known only by its address
FIVE_MINUTES_S = 300
BYTES_A_PAGE = 1_000  # of a document that hides how many pages it has
PACKED_FACTOR = 8  # text in a packed document, against its bytes
SEARCHES_A_CALL = 30
SEARCH_TOKENS = 8_000  # what one search adds to the input
_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_PAGE_COUNT = re.compile(rb"/Count\s+(\d{1,6})")
_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/yaml", "application/x-yaml")


def estimate_input_tokens(request: CompletionRequest, *, model: str = "", context_tokens: int = 0) -> int:
    """Return a number of input tokens that the request can't exceed.

    Args:
        request: The request as it will be sent.
        model: The route's model; it decides what a picture costs. Empty: the dearest.
        context_tokens: The model's context, beyond which the provider refuses free of charge. 0: not known.

    Source:
        Pictures and pages are allowances of ours, set above the rules that the providers publish for images and PDF (tiles, patches
        or pixels; one picture and its text a page). They were not measured against bills.

    Example:
        >>> from aigend.types import Message, Role
        >>> estimate_input_tokens(CompletionRequest(messages=(Message(Role.USER, (Part(Text("Hello")),)),)))
        33
    """
    tokens = REQUEST_OVERHEAD + _parts(request.system, model)
    tokens += sum(
        MESSAGE_OVERHEAD + _parts(message.parts, model, said=message.role is Role.ASSISTANT) for message in request.messages
    )
    tokens += _tools(request.tools) + _format(request) + _options(request)
    return min(tokens, context_tokens) if context_tokens else tokens


def searches_at_most(request: CompletionRequest, *, searching: bool) -> int:
    """Return how many searches a call may be billed for.

    Args:
        request: The request as it will be sent.
        searching: Whether the route's model searches by itself.
    """
    return SEARCHES_A_CALL if searching or _asks_for_search(request) else 0


def upper_bound_nanos(
    *, input_tokens: int, max_output_tokens: int, price: PriceEntry | None, searches: int = 0, cache_ttl_s: int | None = None
) -> int | None:
    """Return what a call costs at most, in nano-dollars, rounded up; None where no price is known.

    Args:
        input_tokens: Upper bound of all input.
        max_output_tokens: The output limit that is sent.
        price: Rates in force.
        searches: Upper bound of searches.
        cache_ttl_s: Longest time for which a prefix is marked for the provider's cache, so that all input may be written; None
            where none is.

    Example:
        >>> price = PriceEntry(input=Decimal("0.15"), output=Decimal("0.60"))
        >>> upper_bound_nanos(input_tokens=1_000, max_output_tokens=8_192, price=price)
        5065200
    """
    if price is None:
        return None
    rates = [dearest(price, bucket, input_tokens) for bucket in _inputs(price, cache_ttl_s)]
    input_rate = max((rate for rate in rates if rate is not None), default=None)
    output_rate = dearest(price, "output", input_tokens) if max_output_tokens else Decimal(0)
    if input_rate is None or output_rate is None:
        return None
    tokens = (input_rate * input_tokens + output_rate * max_output_tokens) * 1_000
    fees = ((price.request_fee or Decimal(0)) + (price.search_fee or Decimal(0)) * searches) * 1_000_000_000
    return int((tokens + fees).to_integral_value(ROUND_CEILING))


def _inputs(price: PriceEntry, cache_ttl_s: int | None) -> tuple[str, ...]:
    """Return the buckets that input may be billed in.

    Written for as long as is marked, also at a dearer bucket's rate where its own is missing; else only where a rate says that the
    provider writes by itself, or for longer than it was asked to.
    """
    marked = cache_ttl_s is not None
    short = marked or price.cache_write_5m is not None
    long = (cache_ttl_s or 0) > FIVE_MINUTES_S or (marked and price.cache_write_1h is not None)
    return ("input", *(("cache_write_5m",) if short else ()), *(("cache_write_1h",) if long else ()))


def text_tokens(text: str) -> int:
    """Return a number of tokens that a text can't exceed: its UTF-8 bytes.

    Example:
        >>> text_tokens("a1"), text_tokens("한글")
        (2, 6)
    """
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _parts(parts: tuple[Part, ...], model: str, *, said: bool = False) -> int:
    """Count parts; `said` are the model's own, whose documents are sources: a line of text each, if they are sent at all."""
    return sum(PART_OVERHEAD + _content(_as_text(part.content) if said else part.content, model) for part in parts)


def _as_text(content: Content) -> Content:
    if isinstance(content, Document) and content.url:
        return Text(f"\n[000] {content.title} {content.url}")
    return content


def _content(content: Content, model: str) -> int:
    match content:
        case Text(text):
            return text_tokens(text)
        case ToolCall():
            return TOOL_OVERHEAD + text_tokens(content.id) + text_tokens(content.name) + text_tokens(content.arguments_json)
        case ToolResult():
            return TOOL_OVERHEAD + text_tokens(content.tool_call_id) + text_tokens(content.text)
        case Thinking():
            return text_tokens(content.text) + text_tokens(content.signature)
        case Image():
            return _image(model)
        case Document():
            return text_tokens(content.title) + _document(content)


def _image(model: str) -> int:
    if not model:
        return max(IMAGE_TOKENS, *(tokens for _, tokens in IMAGE_TOKENS_BY_MODEL))
    return next((tokens for start, tokens in IMAGE_TOKENS_BY_MODEL if model.startswith(start)), IMAGE_TOKENS)


def _document(document: Document) -> int:
    if not document.data:
        return UNSEEN_PAGES * PAGE_TOKENS
    if document.media_type.startswith(_TEXT_TYPES):
        return len(document.data)
    if document.media_type == "application/pdf" or document.data.startswith(b"%PDF"):
        return _pages(document.data) * PAGE_TOKENS
    return len(document.data) * PACKED_FACTOR


def _pages(data: bytes) -> int:
    """Pages of a PDF as its page tree says, else by its size."""
    seen = max([len(_PAGE.findall(data)), *map(int, _PAGE_COUNT.findall(data))])
    return min(seen or len(data) // BYTES_A_PAGE + 1, MOST_PAGES)


def _tools(tools: tuple[Tool, ...]) -> int:
    if not tools:
        return 0
    texts = sum(text_tokens(tool.name) + text_tokens(tool.description) + text_tokens(tool.parameters_json_schema) for tool in tools)
    return TOOLS_OVERHEAD + TOOL_OVERHEAD * len(tools) + texts


def _format(request: CompletionRequest) -> int:
    wanted = request.response_format
    return FORMAT_OVERHEAD + text_tokens(wanted.json_schema) + text_tokens(wanted.schema_name) if wanted is not None else 0


def _options(request: CompletionRequest) -> int:
    """Options may carry text of their own, such as a predicted answer, and may ask for searches, whose results are input."""
    searched = SEARCHES_A_CALL * SEARCH_TOKENS if _asks_for_search(request) else 0
    return text_tokens(request.provider_options_json) + searched


def _asks_for_search(request: CompletionRequest) -> bool:
    return "search" in request.provider_options_json.lower()
