"""Times and durations of the contract as seconds, both ways; what protobuf itself would not accept is refused by name."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aigend.errors import invalid


def seconds_of(duration: Duration) -> float:
    """Return a duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def duration(seconds: float) -> Duration:
    """Return seconds as a message."""
    whole, part = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=part)


def moment_of(field: str, stamp: Timestamp) -> float:
    """Return a time as wall clock, seconds since 1970.

    Raises:
        DomainError: INVALID_REQUEST for seconds or nanoseconds out of protobuf's bounds.
    """
    try:
        return stamp.ToNanoseconds() / 1e9
    except ValueError as error:
        shown = f"{stamp.seconds} s and {stamp.nanos} ns"
        raise invalid(field, shown, "a time in the years 1 to 9999, with 0 to 999,999,999 nanoseconds") from error


def timestamp(seconds: float) -> Timestamp:
    """Return a wall-clock time as a message."""
    message = Timestamp()
    message.FromNanoseconds(int(seconds * 1e9))
    return message
