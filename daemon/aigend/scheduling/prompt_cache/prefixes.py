"""The beginnings of a request that a provider's prompt cache could keep, each known by a digest.

What is read off a request is a value: which of its prefixes are marked is decided in `marking`, and what a provider is told of them
is the matter of `completion/prompt_cache/plans`. Texts are hashed here and never kept.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from aigend.types import (
    CompletionRequest,
    Content,
    Document,
    Image,
    Part,
    PartPlace,
    Role,
    Stability,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

END_OF_TOOLS = PartPlace(None, -1)
MOST_EARLIER = 8  # turns before the last whose ends are looked at
MOST_ENDS = 512  # parts of a request whose ends are looked at
IMAGE_TOKENS = 1_500  # one picture of the size that providers scale to
FILE_BYTES_A_TOKEN = 25  # of a packed document: a page of 50,000 bytes is some 2,000 tokens
UNSEEN_TOKENS = 2_000  # of a document known only by its address
_ASCII_UNITS, _OTHER_UNITS, _UNITS_A_TOKEN = 3, 4, 12  # 4 bytes of ASCII are a token, 3 of anything else
_DIGEST_BYTES = 16
_NO_TEXT = Text("")  # can't be marked
_ASIDE = (Stability.DYNAMIC, Stability.VOLATILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """A request from its beginning to the end of one of its parts."""

    digest: bytes  # of all that a provider's cache compares
    tokens: int  # about: a token every four bytes of ASCII
    place: PartPlace  # of its last part
    blocks: int  # tools and parts that it holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefixes:
    """The prefixes of one request, each kind from the shortest to the longest."""

    stable: tuple[Prefix, ...] = ()  # ending with the tools, with the system prompt, and with what else is stable
    earlier: tuple[Prefix, ...] = ()  # ending with a turn before the last, where an earlier request of the conversation ended
    turn: Prefix | None = None  # ending with the last turn; None where that is where the stable prefix ends
    own: tuple[Prefix, ...] = ()  # ending where the caller set a mark
    every: tuple[Prefix, ...] = ()  # ending with any part that may end one, up to the longest of the others
    misplaced: bool = False  # a stable part stands after one that changes, where no prefix can hold it

    @property
    def longest(self) -> Prefix | None:
        """The longest prefix that may be marked; None where there is none."""
        return self.turn or (self.stable[-1] if self.stable else None)


def read_prefixes(request: CompletionRequest) -> Prefixes:
    """Return the prefixes of a request, in the order in which providers see it: tools, system prompt, messages.

    The stable prefix reaches as far as parts are stable from the beginning on: those said to be, and of others the parts of the
    system prompt and documents. The last turn ends before parts at its end that are said to change.
    """
    placed = [*_placed(request)]
    stable, turn, earlier = _stable_ends(request, placed), _turn_end(placed), _earlier_ends(request)
    own = [place for place, part in placed if part.prompt_cache_mark_s is not None]
    every = _every_end(request, placed, turn or (stable[-1] if stable else None))
    cuts = _cut(request, {*stable, *earlier, *own, *every, *([turn] if turn else ())})
    return Prefixes(
        stable=tuple(cuts[place] for place in stable),
        earlier=tuple(cuts[place] for place in earlier if place not in stable and place != turn),
        turn=cuts[turn] if turn is not None and turn not in stable else None,
        own=tuple(cuts[place] for place in own),
        every=tuple(cuts[place] for place in every),
        misplaced=_misplaced(placed),
    )


def _placed(request: CompletionRequest) -> Iterator[tuple[PartPlace, Part]]:
    for index, part in enumerate(request.system):
        yield PartPlace(None, index), part
    for number, message in enumerate(request.messages):
        for index, part in enumerate(message.parts):
            yield PartPlace(number, index), part


def _is_stable(place: PartPlace, part: Part) -> bool:
    if part.stability is None:
        return place.message is None or isinstance(part.content, Document)
    return part.stability is Stability.STABLE


def _stable_ends(request: CompletionRequest, placed: list[tuple[PartPlace, Part]]) -> list[PartPlace]:
    """Ends of the tools, of the system prompt and of the stable parts, each once and as far as all before is stable."""
    ends = [END_OF_TOOLS] if request.tools else []
    run: list[PartPlace] = []
    for place, part in placed:
        if not _is_stable(place, part):
            break
        run.append(place)
    system_end = PartPlace(None, len(request.system) - 1)
    if request.system and system_end in run:
        ends.append(system_end)
    if run and run[-1] not in ends:
        ends.append(run[-1])
    return ends


def _turn_end(placed: list[tuple[PartPlace, Part]]) -> PartPlace | None:
    """The last part that may end a prefix: none that changes, and no thinking, which providers mark with what follows it."""
    return next((place for place, part in reversed(placed) if place.message is not None and _ends_turn(part)), None)


def _ends_turn(part: Part) -> bool:
    return part.stability not in _ASIDE and not isinstance(part.content, Thinking)


def _earlier_ends(request: CompletionRequest) -> list[PartPlace]:
    """Where earlier requests of the same conversation had their last turn: before each answer of the model."""
    answered = [
        number
        for number, (message, following) in enumerate(pairwise(request.messages))
        if message.role is not Role.ASSISTANT and following.role is Role.ASSISTANT
    ]
    ends: list[PartPlace] = []
    for number in answered[-MOST_EARLIER:]:
        parts = request.messages[number].parts
        ends += [PartPlace(number, index) for index in reversed(range(len(parts))) if _ends_turn(parts[index])][:1]
    return ends


def _every_end(request: CompletionRequest, placed: list[tuple[PartPlace, Part]], last: PartPlace | None) -> list[PartPlace]:
    """Every part that may end a prefix, up to the last one; of very many, some evenly and the last."""
    if last is None:
        return []
    ends = [END_OF_TOOLS] if request.tools else []
    for place, part in placed:
        if _ends_turn(part) and part.content != _NO_TEXT:
            ends.append(place)
        if place == last:
            break
    stride = -(-len(ends) // MOST_ENDS)
    return ends if stride <= 1 else ends[::-stride][::-1]


def _misplaced(placed: list[tuple[PartPlace, Part]]) -> bool:
    """Tell whether a part that is said to be stable comes too late for the stable prefix.

    Conversations hold stable parts in later turns with reason; there they count only after a part that is said to change.
    """
    unbroken, changing = True, False
    for place, part in placed:
        stable = _is_stable(place, part)
        unbroken = unbroken and stable
        said = part.stability is Stability.STABLE or (stable and place.message is None)
        if said and not unbroken and (changing or place.message in (None, 0)):
            return True
        changing = changing or part.stability in _ASIDE
    return False


def _cut(request: CompletionRequest, places: set[PartPlace]) -> dict[PartPlace, Prefix]:
    """Return the prefixes that end at these places; everything is hashed once."""
    walk, cuts = _Walk(), {}
    for tool in request.tools:
        walk.add_tool(tool)
    if END_OF_TOOLS in places:
        cuts[END_OF_TOOLS] = walk.prefix(END_OF_TOOLS)
    walk.know(repr(request.response_format))  # providers put a schema before the system prompt
    for index, part in enumerate(request.system):
        walk.add(part.content)
        if (place := PartPlace(None, index)) in places:
            cuts[place] = walk.prefix(place)
    # Another choice of tools or another effort ends what providers keep of the messages, not of what stands before them.
    walk.know(repr((request.tool_choice, request.reasoning_effort)))
    walk.know(request.provider_options_json)
    for number, message in enumerate(request.messages):
        walk.know(message.role)
        for index, part in enumerate(message.parts):
            walk.add(part.content)
            if (place := PartPlace(number, index)) in places:
                cuts[place] = walk.prefix(place)
    return cuts


class _Walk:
    """Goes through a request once and can name the prefix that ends where it stands."""

    __slots__ = ("_blocks", "_hash", "_units")

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._units = 0
        self._blocks = 0

    def prefix(self, place: PartPlace) -> Prefix:
        """Return the prefix up to here."""
        return Prefix(digest=self._hash.digest(), tokens=self._units // _UNITS_A_TOKEN, place=place, blocks=self._blocks)

    def know(self, piece: str | bytes) -> int:
        """Let a piece count in the digest, told apart from its neighbours by its length; return its bytes."""
        data = piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass")
        self._hash.update(b"%d:" % len(data))
        self._hash.update(data)
        return len(data)

    def say(self, *texts: str) -> None:
        """Let texts count as tokens too."""
        for text in texts:
            self._units += self.know(text) * (_ASCII_UNITS if text.isascii() else _OTHER_UNITS)

    def add_tool(self, tool: Tool) -> None:
        """Go on by a tool."""
        self._blocks += 1
        self.say(tool.name, tool.description, tool.parameters_json_schema)
        self.know(repr(tool.strict))

    def add(self, content: Content) -> None:
        """Go on by a part."""
        self._blocks += 1
        self.know(type(content).__name__)
        match content:
            case Text(text):
                self.say(text)
            case ToolCall():
                self.know(content.id)
                self.say(content.name, content.arguments_json)
            case ToolResult():
                self.know(f"{content.tool_call_id} {content.is_error}")
                self.say(content.text)
            case Thinking():
                self.say(content.text)
                self.know(content.signature)
            case Image() | Document():
                self._add_file(content)

    def _add_file(self, content: Image | Document) -> None:
        for piece in (content.data, content.url, content.media_type):
            self.know(piece)
        if isinstance(content, Document):
            self.say(content.title)
        self._units += _UNITS_A_TOKEN * _file_tokens(content)


def _file_tokens(content: Image | Document) -> int:
    if isinstance(content, Image):
        return IMAGE_TOKENS
    if not content.data:
        return UNSEEN_TOKENS
    plain = content.media_type.startswith("text/")
    return len(content.data) // (_UNITS_A_TOKEN // _ASCII_UNITS if plain else FILE_BYTES_A_TOKEN)
