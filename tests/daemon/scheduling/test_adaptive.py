"""What adaptive marking marks, what it learns from, and what keeps it from losing."""

from dataclasses import replace

import pytest
from aigend.scheduling.prompt_cache.adaptive import Adaptive
from aigend.scheduling.prompt_cache.adaptive_state import StateRefused, adaptive_from, state_of
from aigend.scheduling.prompt_cache.chances import ALARM, MEMORY, SPANS_S, Chances, lowered
from aigend.scheduling.prompt_cache.choosing import Choice, Stretch, best, gains, marks_of, premium_of
from aigend.scheduling.prompt_cache.decisions import DecisionRow, Decisions
from aigend.scheduling.prompt_cache.marking import Decision, Terms, TokenPrices
from aigend.scheduling.prompt_cache.prefix_tree import Cell, PrefixTree, names
from aigend.scheduling.prompt_cache.prefixes import Prefix, Prefixes
from aigend.scheduling.prompt_cache.track_record import AT_RISK, BEYOND_DOUBT, STAKE, Record, TrackRecords
from aigend.types import PartPlace, TokenUsage

PRICES = TokenPrices(input=5_000, read=500, write_5m=6_250, write_1h=10_000)
TERMS = Terms(owner="me", minimum=1_024, prices=PRICES, may_take_an_hour=True)


def ends(*words: str, stable: int = 0) -> Prefixes:
    """Return the prefixes of a request of 1,000 tokens a word; words say all that stands before them too."""
    every = tuple(
        Prefix(digest=" ".join(words[:n]).encode().rjust(16, b".")[-16:][::-1], tokens=1_000 * n, place=PartPlace(0, n), blocks=n)
        for n in range(1, len(words) + 1)
    )
    return Prefixes(stable=every[:stable], every=every, turn=every[-1] if every else None)


def send(adaptive: Adaptive, prefixes: Prefixes, now: float, terms: Terms = TERMS) -> Decision:
    """Send a request whose provider keeps whatever is marked."""
    decision = adaptive.decide(prefixes, terms, now=now)
    adaptive.note(prefixes, terms, now=now)
    usage = TokenUsage(input=5, cache_write_5m=5) if decision.marks else TokenUsage(input=9)
    adaptive.observe(prefixes, decision.marks, usage, terms=terms, now=now)
    return decision


def taught(gap_s: float = 60.0, *, rounds: int = 60, terms: Terms = TERMS) -> tuple[Adaptive, float]:
    """Return what has seen a system prompt come again so often, with questions that never do."""
    adaptive, now = Adaptive(), 1e9
    for number in range(rounds):
        now += gap_s
        send(adaptive, ends("sys", "tem", f"q{number}", stable=2), now, terms)
    return adaptive, now


def test_what_comes_again_is_marked_and_what_does_not_is_not() -> None:
    """The system prompt is marked for five minutes, up to its end; the questions are not."""
    adaptive, now = taught()
    decision = adaptive.decide(ends("sys", "tem", "new", stable=2), TERMS, now=now + 60)
    assert [(mark.prefix.tokens, mark.ttl_s) for mark in decision.marks] == [(2_000, 300)]
    late = adaptive.decide(ends("sys", "tem", "new", stable=2), TERMS, now=now + 301)
    assert [mark.prefix.tokens for mark in late.marks] == [2_000]
    assert late.premium_nanos == 2_000 * 1_250
    assert late.gain_nanos > 0
    assert "come again within 5 minutes" in late.reason


def test_nothing_is_marked_before_it_is_known_to_pay() -> None:
    """The first requests are sent as they are, and what never comes again stays so."""
    adaptive = Adaptive()
    for number in range(50):
        decision = send(adaptive, ends(f"a{number}", f"b{number}"), 1e9 + 10 * number)
        assert decision.marks == ()
    assert "nothing" in decision.reason or "not known" in decision.reason


def test_an_hour_is_taken_where_things_come_again_later_than_five_minutes() -> None:
    """What comes every twenty minutes is kept for an hour, unless five minutes were asked for."""
    adaptive, now = taught(1_200.0)
    decision = adaptive.decide(ends("sys", "tem", "new", stable=2), TERMS, now=now + 7_200)
    assert {mark.ttl_s for mark in decision.marks} == {3_600}
    assert "later too" in decision.reason
    short = Terms(owner="me", minimum=1_024, prices=PRICES, ttl_s=300)
    assert adaptive.decide(ends("sys", "tem", "new", stable=2), short, now=now + 7_200).marks == ()


def test_an_hour_that_was_asked_for_is_the_only_lifetime() -> None:
    """With `ttl_s` 3600 marks are for an hour or not at all."""
    hour = Terms(owner="me", minimum=1_024, prices=PRICES, ttl_s=3_600)
    adaptive, now = taught(60.0, rounds=90, terms=hour)
    assert {mark.ttl_s for mark in adaptive.decide(ends("sys", "tem", "new", stable=2), hour, now=now + 4_000).marks} == {3_600}


def test_owners_learn_apart() -> None:
    """What one scope or model learned says nothing of another."""
    adaptive, now = taught()
    other = Terms(owner="you", minimum=1_024, prices=PRICES)
    assert adaptive.decide(ends("sys", "tem", "new", stable=2), other, now=now + 60).marks == ()


@pytest.mark.parametrize(
    ("prefixes", "terms"),
    [
        (Prefixes(), TERMS),
        (ends("a"), Terms(owner="me")),
        (ends("sys", "tem", "q"), Terms(owner="me", prices=PRICES, minimum=9_000)),
    ],
    ids=["nothing", "no price", "too short"],
)
def test_what_can_not_be_weighed_is_not_marked(prefixes: Prefixes, terms: Terms) -> None:
    """Without parts, without a price and below the minimum there are no marks, and a reason all the same."""
    adaptive, now = taught()
    decision = adaptive.decide(prefixes, terms, now=now)
    assert decision.marks == ()
    assert decision.reason
    adaptive.note(prefixes, terms, now=now)


def test_what_the_provider_did_not_keep_is_not_taken_for_kept() -> None:
    """A marked call that neither read nor wrote says that nothing is there."""
    adaptive, now = taught()
    request = ends("sys", "tem", "new", stable=2)
    marks = adaptive.decide(request, TERMS, now=now + 1).marks
    adaptive.note(request, TERMS, now=now + 1)
    adaptive.observe(request, marks, TokenUsage(input=9), terms=TERMS, now=now + 1)
    assert adaptive.decide(ends("sys", "tem", "x", stable=2), TERMS, now=now + 2).premium_nanos == 2_000 * 1_250


def test_requests_of_one_moment_do_not_count_as_coming_again() -> None:
    """Neither of them could have read what the other wrote."""
    adaptive = Adaptive()
    for _ in range(50):
        send(adaptive, ends("a", "b", "c"), 1e9)
    assert adaptive.decide(ends("a", "b", "c"), TERMS, now=1e9 + 1).marks == ()


def test_state_goes_on_after_a_restart() -> None:
    """What was written down decides as before."""
    adaptive, now = taught()
    written = state_of(adaptive)
    again = adaptive_from(written)
    assert state_of(again)["records"] == written["records"]
    request = ends("sys", "tem", "new", stable=2)
    first, second = (each.decide(request, TERMS, now=now + 301) for each in (adaptive, again))
    assert [mark.prefix for mark in first.marks] == [mark.prefix for mark in second.marks]
    assert second.gain_nanos == pytest.approx(first.gain_nanos, rel=0.01)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"nodes": [["me", "00", [1], 0, 1, 0.0, 0.0, 0, None, None]]},
        {"nodes": [["me", "", [], 0, 1, 0.0, 0.0, 0, None, None]]},
        {"nodes": [[5, "00" * 8, [1], 0, 1, 0.0, 0.0, 0, None, None]]},
        {"kinds": [[["me"], [1.0], [1.0]]]},
        {"kinds": [[[None], [0.0] * len(SPANS_S), [0.0] * len(SPANS_S)]]},
        {"records": [["me", "much"]]},
        {"records": [["me", 1.0, 1.0, 1.0, True, True]]},
        {"records": [["me", 1.0, 1.0, -1.0, 1.0, True, True]]},
        {"kinds": [[["me"], [-1.0] * len(SPANS_S), [0.0] * len(SPANS_S)]]},
    ],
)
def test_a_state_that_does_not_fit_together_is_refused(change: dict) -> None:
    """Another version, a missing parent, counts of other spans: nothing of it is used."""
    adaptive, _ = taught(rounds=3)
    with pytest.raises(StateRefused):
        adaptive_from(state_of(adaptive) | change)


def test_no_state_is_refused() -> None:
    """A list is no state."""
    with pytest.raises(StateRefused, match="list"):
        adaptive_from([])


def test_tree_splits_where_requests_part() -> None:
    """Two requests share a node up to where they differ, and a third finds it."""
    tree = PrefixTree()
    first, second = ends("a", "b", "c"), ends("a", "b", "x", "y")
    assert tree.grow("me", first.every, [2])[1] == 0
    nodes, known = tree.grow("me", second.every, [3])
    assert (known, [len(node.ends) for node in nodes]) == (1, [2, 1, 1])
    assert tree.way("me", names(first.every)).known == 3
    assert tree.way("me", names(ends("a", "b", "z").every)).known == 2
    assert tree.way("you", names(first.every)).known == 0
    tree.grow("me", ends("a", "q").every, [])
    assert tree.way("me", names(first.every)).known == 3
    assert len(tree) == 6


def test_tree_is_bounded() -> None:
    """What was not sent for the longest time goes first, never what others go on from."""
    tree = PrefixTree(most_nodes=3)
    for word in "abcde":
        tree.grow("me", ends("common", word).every, [1])
    assert len(tree) == 3
    assert tree.way("me", names(ends("common", "e").every)).known == 2
    assert tree.way("me", names(ends("common", "a").every)).known == 1
    small = PrefixTree(most_ends=2)
    small.grow("me", ends("a", "b").every, [])
    small.grow("me", ends("c").every, [])
    assert len(small) == 1


def test_chances_follow_what_happened_and_forget() -> None:
    """Kinds of which all come again are believed to, and no longer once they stop."""
    chances, now = Chances(), 0.0
    kind = (("k",),)
    assert chances.expect(kind)[0] < 0.25
    for _ in range(100):
        sight = chances.sent(chances.cells(kind), now=now)
        now += 20
        chances.came_again(sight, now=now)
    assert chances.expect(kind)[0] > 0.8
    for _ in range(int(3 * MEMORY)):
        chances.sent(chances.cells(kind), now=now)
        now += 20
        chances.pass_time(now)
    assert chances.expect(kind)[0] < 0.15


def test_what_comes_after_an_hour_did_not_come_again() -> None:
    """Later than all spans is never."""
    chances = Chances()
    cells = chances.cells((("k",),))
    chances.came_again(chances.sent(cells, now=0.0), now=4_000.0)
    assert sum(cells[0].back) == 0


def test_counts_stay_finite() -> None:
    """Weights that grow are brought back in time, and a copy is apart."""
    cell = Cell(1)
    cell.scale, cell.entered = 10.0, [20.0]
    copy = cell.copy()
    cell.settle()
    assert (cell.scale, cell.entered, copy.entered) == (1.0, [2.0], [20.0])


def stretch(tokens: int, *, short: float, long: float = -1e9, upto: int = 0, kept: bool = False) -> Stretch:
    """Return a stretch with its gains."""
    end = Prefix(digest=b"d", tokens=upto or tokens, place=PartPlace(0, 0), blocks=upto or tokens)
    return Stretch(end=end, tokens=tokens, chance=0.5, short=short, long=long, kept=kept)


def test_best_takes_the_beginning_that_gains_most() -> None:
    """A loss on the way is taken for a larger gain behind it, and nothing where nothing gains."""
    found = best([stretch(2_000, short=-5), stretch(10, short=9, upto=2_010), stretch(10, short=-1, upto=2_020)], TERMS)
    assert found == Choice(0, 2, 4.0)
    assert best([stretch(2_000, short=-5)], TERMS).all == 0
    assert best([stretch(100, short=5)], TERMS).all == 0  # below the minimum
    both = best([stretch(2_000, short=5, long=50), stretch(10, short=9, upto=2_010)], TERMS)
    assert (both.long, both.all) == (1, 2)
    assert premium_of([stretch(2_000, short=5), stretch(10, short=9)], both, PRICES) == 2_000 * 5_000 + 10 * 1_250


def test_kept_stretches_are_marked_so_that_they_are_read() -> None:
    """What the provider keeps is marked at its end, though nothing new is worth its premium."""
    stretches = [stretch(2_000, short=5, kept=True), stretch(10, short=-9, upto=2_010)]
    (mark,) = marks_of(stretches, best(stretches, TERMS), Prefixes(), minimum=1_024)
    assert mark.prefix.tokens == 2_000


def test_gains_weigh_readings_against_premiums() -> None:
    """Five minutes pay from a chance of 0.28 of one reading on; an hour only where more come later."""
    assert gains((0.27, 0.27), (0.0, 0.0), PRICES)[0] < 0 < gains((0.28, 0.28), (0.0, 0.0), PRICES)[0]
    assert gains((0.9, 1.0), (0.9, 1.0), PRICES)[0] > gains((0.9, 1.0), (0.0, 0.0), PRICES)[0]
    short, long = gains((0.1, 1.0), (0.1, 1.0), PRICES)
    assert long > max(short, 0.0)


def test_records_open_and_close() -> None:
    """A record begins closed, opens where marking would have paid and closes where it lost; others are given up in turn."""
    record = Record(spent=100.0)
    record.judge(0.001)
    assert not record.open
    record.earned = 2.0
    record.judge(0.001)
    assert record.open
    record.earned = -0.2
    record.judge(0.001)
    assert not record.open
    records = TrackRecords()
    for number in range(1_100):
        records.of(str(number))
    assert len(list(records.items())) == 1_024


def row(number: int, **changes: object) -> DecisionRow:
    """Return a row."""
    usual = {
        "time": 0.0,
        "scope": "local",
        "request_id": f"r{number}",
        "provider": "p",
        "model": "m",
        "service": "",
        "decision": "adaptive",
    }
    usual |= {"prefix": "ab", "tokens": 1, "mark_count": 0, "ttl_s": 0, "reason": "", "expected_gain_nanos": 0, "premium_nanos": 0}
    return DecisionRow(**(usual | {"number": number} | changes))


def test_decisions_are_found_by_request_and_prefix_and_bounded() -> None:
    """The latest rows are kept, of a scope, the latest first."""
    decisions = Decisions(most=2)
    for number in (1, 2, 3):
        decisions.add(row(number))
    decisions.add(row(4, scope="other", prefix="cd"))
    assert [each.number for each in decisions.latest("local")] == [3]
    assert list(decisions.latest("local", before=3)) == []
    assert decisions.of("local", request_id="r1") is None
    assert decisions.of("local", request_id="r3").number == decisions.of("local", prefix="ab").number == 3
    assert decisions.of("other", prefix="cd").number == 4
    assert len(decisions) == 2


def test_little_earned_asks_for_more_than_the_premium() -> None:
    """The hurdle falls to nothing once enough was earned, and makes a gain smaller."""
    hurdles = [Record(spent=1e6, earned=earned).hurdle for earned in (-5.0, 0.0, 15_000.0, 30_001.0)]
    assert hurdles == pytest.approx([0.2, 0.2, 0.1, 0.0], abs=1e-4)
    chance = (0.3, 0.3)
    assert gains(chance, chance, PRICES, hurdle=0.2)[0] == pytest.approx(gains(chance, chance, PRICES)[0] - 0.2 * 1_250)


def test_a_premium_counts_once_what_it_paid_for_is_read() -> None:
    """It is not counted again when its time is over, and nothing is counted where nothing was paid."""
    tree, records = PrefixTree(), TrackRecords()
    (node,), _ = tree.grow("me", ends("a").every, [])
    assert records.repaid(node) == 0.0
    node.paper_until = 300.0
    records.paid("me", node, premium=50.0)
    records.count("me", spent=1_000.0, saved=80.0 - records.repaid(node))
    records.pass_time(301.0)
    assert (records.of("me").earned, records.of("me").squares) == (30.0, 900.0)


def test_what_was_put_on_paper_is_settled_though_others_decide() -> None:
    """Where another way of marking is in force, nothing piles up: what is no longer kept is counted and let go."""
    adaptive, longest = Adaptive(), 0
    for number in range(1_200):
        document = ends(f"d{number // 4}", "body", f"q{number}", stable=2)
        adaptive.note(document, TERMS, now=1e9 + 20.0 * number)
        longest = max(longest, adaptive.records.unsettled)
    assert 0 < longest < 60


def test_a_greeting_tells_nothing_of_what_follows_it() -> None:
    """Of what many ways go on from, no counts of what follows are looked at; of few ways they are."""
    adaptive = Adaptive()
    for number in range(40):
        send(adaptive, ends("hello", f"a{number}", f"b{number}"), 1e9 + number)
    (greeting,) = adaptive.tree.roots["me"].children.values()
    assert greeting.below is not None
    counted = greeting.below.scale  # it grows with each that is counted
    send(adaptive, ends("hello", "x", "y"), 1e9 + 41)
    assert greeting.below.scale == counted


def faithful(chances: Chances, *, times: int = 60) -> float:
    """Let a kind come again so often after 20 seconds; return the time afterwards."""
    cells, now = chances.cells(KIND), 0.0
    for _ in range(times):
        sight = chances.sent(cells, now=now)
        now += 20
        chances.came_again(sight, now=now)
    return now


def let_down(chances: Chances, now: float, *, times: int) -> float:
    """Send a kind so often that it does not come again; return its chance afterwards."""
    cells = chances.cells(KIND)
    for _ in range(times):
        chances.sent(cells, now=now)
        now += 40
        chances.pass_time(now)
    return chances.expect(KIND)[0]


KIND = (("k",),)


def test_what_stays_away_time_after_time_is_no_longer_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty comings are cut after a dozen failures; worn down one by one they are believed in for long."""
    chances, worn = Chances(), Chances()
    assert let_down(chances, faithful(chances), times=20) < 0.2
    monkeypatch.setattr("aigend.scheduling.prompt_cache.chances.ALARM", 1e9)
    assert let_down(worn, faithful(worn), times=20) > 0.5


def test_what_stays_away_now_and_then_raises_no_alarm() -> None:
    """As long as most come again, those that do not are made up for."""
    chances = Chances()
    now, (cell,) = faithful(chances), chances.cells(KIND)
    for _ in range(100):
        let_down(chances, now, times=1)
        now = now + 40 + faithful_once(chances, now + 40)
        assert cell.missed < ALARM / 2
    assert chances.expect(KIND)[0] > 0.4


def faithful_once(chances: Chances, now: float) -> float:
    """Let a kind come again twice."""
    for turn in range(2):
        chances.came_again(chances.sent(chances.cells(KIND), now=now + 20 * turn), now=now + 20 * turn + 20)
    return 40.0


def test_what_was_sent_together_is_missed_once() -> None:
    """Ten parts of one request that stay away together are one thing that does, and a split shares it."""
    chances = Chances()
    now, (cell,) = faithful(chances), chances.cells(KIND)
    sights = [chances.sent(chances.cells(KIND), now=now, share=0.1) for _ in range(10)]
    part = sights[0].part(0.5)
    assert (part.share, sights[0].share) == (0.05, 0.05)
    chances.pass_time(now + 40)
    assert 0 < cell.missed < 1


def test_doubt_lowers_a_chance_the_less_the_more_is_known() -> None:
    """Of few sendings little is sure; of many nearly all, and of what never failed all."""
    few, many = (lowered(0.4, known, deviations=BEYOND_DOUBT) for known in (8.0, 800.0))
    assert 0 < few < 0.1 < 0.35 < many < 0.4
    assert lowered(1.0, 0.0, deviations=BEYOND_DOUBT) == 1.0
    assert lowered(0.1, 2.0, deviations=BEYOND_DOUBT) == 0.0
    chances = Chances()
    faithful(chances)
    assert chances.known((("other",),)) == 0.0
    assert 50 < chances.known(KIND) < 60


def test_a_record_is_proven_where_chance_alone_would_not_have_earned_it() -> None:
    """What many small requests earned is; what one large one did is not, though it is as much; a loss ends it."""
    small, large = TrackRecords(), TrackRecords()
    for _ in range(20):
        small.count("me", spent=100.0, saved=5.0)
    large.count("me", spent=2_000.0, saved=100.0)
    assert small.of("me").open
    assert small.of("me").proven
    assert large.of("me").open
    assert not large.of("me").proven
    small.of("me").earned = -1.0 - AT_RISK * small.of("me").spent
    small.count("me", spent=0.0, saved=0.0)
    assert not small.of("me").proven


def test_an_unproven_record_pays_only_for_what_is_beyond_doubt() -> None:
    """What gains by a hair is marked once the record is proven, and not before."""
    doubtful = replace(stretch(2_000, short=5), caution=6.0)
    assert best([doubtful], TERMS) == Choice()
    assert best([doubtful], TERMS, paper=True).all == 1
    adaptive, now = taught(rounds=12)
    adaptive.records.of("me").open = True
    request = ends("sys", "tem", "new", stable=2)
    gained = []
    for proven in (False, True):
        adaptive.records.of("me").proven = proven
        gained.append(adaptive.decide(request, TERMS, now=now + 400 + proven).gain_nanos)
    assert 0 <= gained[0] < gained[1]


def test_no_more_is_written_in_vain_than_is_borne() -> None:
    """Where nothing that was written is read, writing stops at a share of what was sent, and the reason says so."""
    record = Record(spent=1_000.0, balance=-20.0)
    assert record.bears(STAKE * 250.0 - 20.0, dearness=0.25)
    assert not record.bears(STAKE * 250.0 - 19.0, dearness=0.25)
    assert record.bears(STAKE * 1_000.0 - 20.0, dearness=1.0)
    adaptive, now = taught()
    adaptive.records.of("me").balance = -1e12
    decision = adaptive.decide(ends("sys", "tem", "new", stable=2), TERMS, now=now + 301)
    assert (decision.marks, decision.premium_nanos) == ((), 0)
    assert "was not read yet" in decision.reason


def test_what_others_marked_is_not_answered_for() -> None:
    """Marks of the caller's, and of other ways to decide, cost adaptive marking nothing of what it may lose."""
    adaptive, now = taught()
    request = ends("sys", "tem", "new", stable=2)
    marks = adaptive.decide(request, TERMS, now=now + 1).marks
    before = adaptive.records.of("me").balance
    usage = TokenUsage(input=9, cache_write_5m=2_000, cache_write_1h=100, cache_read=10)
    adaptive.observe(request, marks, usage, terms=TERMS, now=now + 1, decided=False)
    assert adaptive.records.of("me").balance == before
    adaptive.observe(request, marks, usage, terms=TERMS, now=now + 1)
    assert adaptive.records.of("me").balance == pytest.approx(before + 10 * 4_500 - 2_000 * 1_250 - 100 * 5_000)
