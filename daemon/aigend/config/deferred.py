"""The settings of lane DEFERRED and of batch jobs."""

from typing import Annotated

from pydantic import Field

from aigend.config.section import Section
from aigend.config.units import Bytes, Count, Seconds, Wait


class DeferredSettings(Section):
    """Lane DEFERRED: how requests are collected into the providers' batch jobs, and how these are followed."""

    max_wait_s: Wait = Field(300.0, description="Longest time a request waits for company before its batch job leaves.")
    gather_s: Wait = Field(
        5.0, description="How long a batch job of two requests or more waits for a further one; each that comes starts it anew."
    )
    poll_min_s: Seconds = Field(10.0, description="First wait between two questions how far a batch job is; it doubles.")
    poll_max_s: Seconds = Field(300.0, description="Longest such wait.")
    absent_grace_s: Wait = Field(
        120.0,
        description="How long a batch job whose hand-in was cut off is missing from the provider's list before it is handed in.",
    )
    max_lines: Annotated[Count, Field(ge=1, le=1_000_000)] = Field(
        20_000, description="Requests that may wait or be under way in all; the next one is refused with OVERLOADED."
    )
    max_size_bytes: Annotated[Bytes, Field(ge=1_024)] = Field(
        256_000_000, description="Size of those requests together; above it the next one is refused with OVERLOADED."
    )
    reply_ttl_s: Seconds = Field(604_800.0, description="How long a reply is kept that nobody has fetched.")
    job_ttl_s: Seconds = Field(604_800.0, description="How long a batch job and its results are kept after its last item ended.")
