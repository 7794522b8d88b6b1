"""What was sent, as a tree: prefixes that were always sent together are one node, and a request that goes another way splits it.

Only digests are kept. What it means that a prefix came again is the matter of `chances` and `adaptive`.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aigend.scheduling.prompt_cache.prefixes import Prefix

NAME_BYTES = 8  # of a digest: two prefixes that meet here by chance cost a wrong guess, no wrong answer
MOST_NODES = 32_768
MOST_ENDS = 1_000_000


class Cell:
    """How many things of one kind entered each span of time after they were sent, and came again in it.

    Later counts weigh more: instead of making all older ones lighter, `scale` grows.
    """

    __slots__ = ("back", "entered", "missed", "scale")

    def __init__(self, spans: int) -> None:
        self.scale = 1.0
        self.missed = 0.0  # what was expected to come again lately and did not
        self.entered = [0.0] * spans
        self.back = [0.0] * spans

    def settle(self) -> None:
        """Count in whole weights again."""
        self.entered = [count / self.scale for count in self.entered]
        self.back = [count / self.scale for count in self.back]
        self.scale = 1.0

    def copy(self) -> "Cell":
        """Return the same counts apart."""
        cell = Cell(0)
        cell.scale, cell.entered, cell.back = self.scale, [*self.entered], [*self.back]
        return cell


class Sight:
    """One sending of a node, watched until it came again."""

    __slots__ = ("cells", "open", "share", "span", "time", "weight")

    def __init__(self, cells: tuple[Cell, ...], *, time: float, weight: float = 1.0, share: float = 1.0, span: int = 0) -> None:
        self.cells, self.time, self.weight, self.span = cells, time, weight, span
        self.share = share  # of its request: what was sent together comes again or stays away together
        self.open = True

    def part(self, share: float) -> "Sight":
        """Return a share of this sending apart from the rest."""
        part = Sight(self.cells, time=self.time, weight=self.weight * share, share=self.share * share, span=self.span)
        self.weight -= part.weight
        self.share -= part.share
        return part


class Node:
    """A run of ends that were always sent together, with what is known of it."""

    __slots__ = (
        "below",
        "children",
        "ends",
        "kept_s",
        "kept_until",
        "last",
        "own",
        "paper_s",
        "paper_until",
        "parent",
        "premium",
        "sight",
        "sights",
        "tokens",
        "turn",
    )

    def __init__(self, parent: "Node | None", ends: list[bytes], tokens: list[int], *, turn: int) -> None:
        self.parent = parent
        self.ends, self.tokens = ends, tokens  # names, and tokens of the whole prefix
        self.children: dict[bytes, Node] = {}
        self.turn = turn  # requests before the one that brought it, on the way here
        self.sights, self.last = 0, 0.0
        self.kept_until, self.kept_s = 0.0, 0
        self.paper_until, self.paper_s, self.premium = 0.0, 0, 0.0  # kept had every decision been carried out, and what for
        self.own: Cell | None = None  # what it did itself
        self.below: Cell | None = None  # what that did which followed it for the first time
        self.sight: Sight | None = None

    def shared(self, ends: Sequence[bytes], at: int) -> int:
        """Return how many of its ends a request has that stands at one of its own; a name tells all before it too."""
        low, high = 0, min(len(self.ends), len(ends) - at)
        while low < high:
            middle = (low + high + 1) // 2
            if self.ends[middle - 1] == ends[at + middle - 1]:
                low = middle
            else:
                high = middle - 1
        return low


@dataclass(frozen=True, slots=True)
class Step:
    """A node on a request's way, as far as the request shares it."""

    node: Node
    shared: int  # of its ends

    @property
    def whole(self) -> bool:
        """Whether all of the node is shared."""
        return self.shared == len(self.node.ends)


@dataclass(frozen=True, slots=True)
class Way:
    """How far a request goes through what is known."""

    root: Node
    steps: tuple[Step, ...]
    known: int  # ends that were sent before

    @property
    def last(self) -> Node:
        """The node from which what is new goes on."""
        return self.steps[-1].node if self.steps else self.root


class PrefixTree:
    """Remembers what each owner sent; what was not sent for the longest time is forgotten first.

    Args:
        most_nodes: How many nodes are kept at most.
        most_ends: How many ends of parts they hold at most.
    """

    def __init__(self, *, most_nodes: int = MOST_NODES, most_ends: int = MOST_ENDS) -> None:
        self._most_nodes, self._most_ends = most_nodes, most_ends
        self._roots: OrderedDict[str, Node] = OrderedDict()
        self._used: OrderedDict[Node, None] = OrderedDict()  # a node always stands before those that lead to it
        self._ends = 0

    def __len__(self) -> int:
        return len(self._used)

    def __iter__(self) -> Iterator[Node]:
        """Yield the nodes, the longest unused first."""
        return iter(self._used)

    @property
    def roots(self) -> dict[str, Node]:
        """Where each owner's prefixes begin."""
        return dict(self._roots)

    def way(self, owner: str, ends: Sequence[bytes]) -> Way:
        """Return how far a request was sent before; nothing is remembered of the question."""
        root = self._roots.get(owner)
        if root is None:
            return Way(Node(None, [], [], turn=0), (), 0)
        steps, node, at = [], root, 0
        while at < len(ends) and (following := node.children.get(ends[at])) is not None:
            node = following
            step = Step(node, node.shared(ends, at))
            steps.append(step)
            at += step.shared
            if not step.whole:
                break
        return Way(root, tuple(steps), at)

    def grow(self, owner: str, prefixes: Sequence[Prefix], cuts: Sequence[int]) -> tuple[list[Node], int]:
        """Let a request in and return the nodes it consists of, and how many of them were known.

        Args:
            owner: Scope, provider and model.
            prefixes: The ends of its parts, the shortest first.
            cuts: Numbers of ends at which what is new becomes several nodes.
        """
        ends = names(prefixes)
        root = self._root(owner)
        way = self.way(owner, ends)
        nodes = [step.node if step.whole else self._split(step.node, step.shared) for step in way.steps]
        known, before, at = len(nodes), nodes[-1] if nodes else root, way.known
        turn = before.turn + 1 if nodes else 0
        for cut in (*(cut for cut in cuts if at < cut < len(ends)), len(ends)):
            if cut > at:
                before = self._add(before, ends[at:cut], [prefix.tokens for prefix in prefixes[at:cut]], turn=turn)
                nodes.append(before)
                at = cut
        for node in reversed(nodes):
            self._used.move_to_end(node)
        self._forget()
        return nodes, known

    def restore(self, parent: Node | None, node: Node, *, owner: str) -> Node:
        """Put back a node that was written down, below its parent or at the beginning; the longest unused last."""
        node.parent = parent or self._root(owner)
        node.parent.children[node.ends[0]] = node
        self._used[node] = None
        self._used.move_to_end(node, last=False)
        self._ends += len(node.ends)
        return node

    def _root(self, owner: str) -> Node:
        root = self._roots.get(owner)
        if root is None:
            root = self._roots[owner] = Node(None, [], [], turn=0)
        return root

    def _add(self, parent: Node, ends: list[bytes], tokens: list[int], *, turn: int) -> Node:
        node = parent.children[ends[0]] = Node(parent, ends, tokens, turn=turn)
        self._used[node] = None
        self._ends += len(ends)
        return node

    def _split(self, lower: Node, at: int) -> Node:
        """Return the upper part of a node of which a request shares so many ends."""
        parent = lower.parent
        if parent is None:
            raise ValueError("a root has no ends to split")
        upper = Node(parent, lower.ends[:at], lower.tokens[:at], turn=lower.turn)
        upper.sights, upper.last, upper.kept_until, upper.kept_s = lower.sights, lower.last, lower.kept_until, lower.kept_s
        upper.paper_until, upper.paper_s = lower.paper_until, lower.paper_s
        upper.own = lower.own.copy() if lower.own is not None else None
        parent.children[upper.ends[0]] = upper
        begin = parent.tokens[-1] if parent.tokens else 0
        if lower.sight is not None:
            share = (lower.tokens[at - 1] - begin) / max(1, lower.tokens[-1] - begin)
            upper.sight = lower.sight.part(share)
        lower.parent, lower.ends, lower.tokens = upper, lower.ends[at:], lower.tokens[at:]
        upper.children[lower.ends[0]] = lower
        self._used[upper] = None
        return upper

    def _forget(self) -> None:
        while len(self._used) > self._most_nodes or self._ends > self._most_ends:
            node, _ = self._used.popitem(last=False)
            self._ends -= len(node.ends)
            if node.parent is not None:
                del node.parent.children[node.ends[0]]


def names(prefixes: Sequence[Prefix]) -> list[bytes]:
    """Return what prefixes are called here."""
    return [prefix.digest[:NAME_BYTES] for prefix in prefixes]
