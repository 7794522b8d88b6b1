"""Who is built out of whom in lane DEFERRED; nothing is started."""

from collections.abc import Callable

from aigend.cache.manager import CacheManager
from aigend.clock import Clock
from aigend.completion.deferral.collector import Collector
from aigend.completion.deferral.lane import DeferredLane
from aigend.completion.deferral.lines import LineBooks
from aigend.completion.deferral.places import Accounts, BatchPlaces
from aigend.completion.deferral.poller import Jobs
from aigend.completion.failpoints import NO_FAILPOINTS, Failpoints
from aigend.completion.free_answers import FreeAnswers
from aigend.completion.known_ids import KnownIds
from aigend.completion.ports import AnswerCodec
from aigend.completion.sharing import Sharing
from aigend.completion.snapshot import Snapshot
from aigend.completion.watch import Watch
from aigend.ledger.batch_desk import BatchDesk
from aigend.routing.health import Health
from aigend.types import CompletionRequest


def deferred_lane(
    *,
    snapshot: Snapshot,
    desk: BatchDesk,
    sharing: Sharing,
    known_ids: KnownIds,
    free: FreeAnswers,
    cache: CacheManager,
    codec: AnswerCodec,
    read_request: Callable[[bytes], CompletionRequest],
    providers: Accounts,
    health: Health,
    watch: Watch,
    clock: Clock,
    failpoints: Failpoints = NO_FAILPOINTS,
) -> DeferredLane:
    """Return a lane with its collector and the follower of its jobs.

    Args:
        snapshot: Settings in force to begin with.
        desk: The ledger's desk for batch lines.
        sharing: Makes calls that can't wait.
        known_ids: What became of request ids.
        free: Makes replies of what is there already.
        cache: Where answers are kept.
        codec: Spells answers as bytes.
        read_request: Reads a request's bytes again after a restart.
        providers: Has the accounts.
        health: Knows which keys are refused.
        watch: Tells telemetry what was answered.
        clock: Tells the time.
        failpoints: Where a test lets the process die.
    """
    places = BatchPlaces(providers=providers, health=health, clock=clock)
    books = LineBooks(desk=desk, cache=cache, codec=codec, clock=clock)
    jobs = Jobs(desk=desk, books=books, batch_of=places.held, snapshot=snapshot, watch=watch, clock=clock, failpoints=failpoints)
    collector = Collector(desk=desk, books=books, jobs=jobs, places=places, snapshot=snapshot, clock=clock)
    return DeferredLane(
        desk=desk,
        jobs=jobs,
        collector=collector,
        places=places,
        sharing=sharing,
        known_ids=known_ids,
        free=free,
        cache=cache,
        codec=codec,
        read_request=read_request,
        clock=clock,
    )
