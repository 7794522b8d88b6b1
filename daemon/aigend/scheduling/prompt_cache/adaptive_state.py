"""What adaptive marking has learned, as a value that can be written down and read again.

Written are the counts by kind, the records, and the prefixes sent last. What is being watched at that moment is not: it counts
neither as come again nor as lost. A state of another version, or one that does not fit together, is refused whole.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from aigend.scheduling.prompt_cache.adaptive import Adaptive
from aigend.scheduling.prompt_cache.chances import SPANS_S, Chances
from aigend.scheduling.prompt_cache.prefix_tree import NAME_BYTES, Cell, Node, PrefixTree
from aigend.scheduling.prompt_cache.track_record import Record, TrackRecords

VERSION = 3
MOST_NODES = 4_096
MOST_ENDS = 100_000
MOST_CELLS = 4_096
_DIGITS = 6


class StateRefused(ValueError):  # noqa: N818 - names what happened
    """A state that can't be used; the text says why."""


def state_of(adaptive: Adaptive) -> dict[str, Any]:
    """Return what was learned, in words that JSON has."""
    owners = {id(root): owner for owner, root in adaptive.tree.roots.items()}
    return {
        "version": VERSION,
        "spans_s": list(SPANS_S),
        "kinds": [[list(kind), *_counts(cell)] for kind, cell in _last(list(adaptive.chances.items()), MOST_CELLS)],
        "records": [[owner, *_sums(record), record.open, record.proven] for owner, record in adaptive.records.items()],
        "nodes": list(_nodes(adaptive.tree, owners)),
    }


def adaptive_from(state: Any) -> Adaptive:
    """Return what goes on from a state.

    Raises:
        StateRefused: It is of another version, or not a state at all.
    """
    if not isinstance(state, Mapping) or state.get("version") != VERSION or state.get("spans_s") != list(SPANS_S):
        found = state.get("version") if isinstance(state, Mapping) else type(state).__name__
        raise StateRefused(f"version is {found!r}; allowed: {VERSION}")
    try:
        return Adaptive(tree=_tree(state["nodes"]), chances=_chances(state["kinds"]), records=_records(state["records"]))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise StateRefused(f"it does not fit together: {error!r}") from error


def _sums(record: Record) -> list[float]:
    return [record.spent, record.earned, record.squares, record.balance]


def _last(items: list[Any], most: int) -> list[Any]:
    return items[-most:]


def _counts(cell: Cell) -> list[list[float]]:
    """Return a cell's counts in whole weights."""
    return [[round(count / cell.scale, _DIGITS) for count in counts] for counts in (cell.entered, cell.back)]


def _cell(entered: list[float], back: list[float]) -> Cell:
    cell = Cell(0)
    cell.entered, cell.back = [float(count) for count in entered], [float(count) for count in back]
    if len(cell.entered) != len(SPANS_S) or len(cell.back) != len(SPANS_S):
        raise ValueError(f"a count has {len(cell.entered)} spans")
    if not all(count >= 0.0 for count in (*cell.entered, *cell.back)):
        raise ValueError("a count is negative")
    return cell


def _nodes(tree: PrefixTree, owners: Mapping[int, str]) -> Iterator[list[Any]]:
    """Yield the nodes used last, each after the one it goes on from."""
    places: dict[int, int] = {}
    ends = 0
    for node in islice(reversed(list(tree)), MOST_NODES):
        parent, names, tokens = node.parent, list(node.ends), list(node.tokens)
        known = parent is not None and (id(parent) in places or id(parent) in owners)
        if not known or len(names) != len(tokens):  # it was taken apart while it was written down
            continue
        ends += len(names)
        if ends > MOST_ENDS:
            return
        places[id(node)] = len(places)
        yield [
            owners.get(id(parent), places.get(id(parent))),
            b"".join(names).hex(),
            tokens,
            node.turn,
            node.sights,
            round(node.last, 3),
            round(node.kept_until, 3),
            node.kept_s,
            _counts(node.own) if node.own is not None else None,
            _counts(node.below) if node.below is not None else None,
        ]


def _tree(rows: list[list[Any]]) -> PrefixTree:
    tree, nodes = PrefixTree(), list[Node]()
    for parent, ends, tokens, turn, sights, last, kept_until, kept_s, own, below in rows:
        packed = bytes.fromhex(ends)
        names = [packed[at : at + NAME_BYTES] for at in range(0, len(packed), NAME_BYTES)]
        if not names or len(names) != len(tokens) or len(packed) % NAME_BYTES:
            raise ValueError(f"a prefix has {len(names)} ends and {len(tokens)} sizes")
        node = Node(None, names, [int(count) for count in tokens], turn=int(turn))
        node.sights, node.last, node.kept_until, node.kept_s = int(sights), float(last), float(kept_until), int(kept_s)
        node.own = _cell(*own) if own is not None else None
        node.below = _cell(*below) if below is not None else None
        on = isinstance(parent, str)
        nodes.append(tree.restore(None if on else nodes[parent], node, owner=parent if on else ""))
    return tree


def _chances(rows: list[list[Any]]) -> Chances:
    chances = Chances()
    for kind, entered, back in rows:
        if not all(isinstance(word, str | int) for word in kind):
            raise ValueError(f"a kind is {kind!r}")
        chances.restore(tuple(kind), _cell(entered, back))
    return chances


def _records(rows: list[list[Any]]) -> TrackRecords:
    records = TrackRecords()
    for owner, *sums, is_open, is_proven in rows:
        spent, earned, squares, balance = map(float, sums)
        if not squares >= 0.0:
            raise ValueError(f"a sum of squares is {squares}")
        record = Record(
            spent=spent, earned=earned, squares=squares, balance=balance, is_open=bool(is_open), is_proven=bool(is_proven)
        )
        records.restore(str(owner), record)
    return records
