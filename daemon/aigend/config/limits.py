"""The section that bounds the daemon: what is under way, what waits, how large things may be."""

from typing import Annotated

from pydantic import Field

from aigend.config.section import Section
from aigend.config.units import Bytes, Count, Wait


class LimitSettings(Section):
    """What bounds the daemon."""

    total: Annotated[Count, Field(ge=1, le=100_000)] = Field(
        50, description="Provider calls under way at once, all providers together."
    )
    per_provider: Annotated[Count, Field(ge=1, le=100_000)] = Field(
        5, description="Provider calls under way at once to one provider."
    )
    queue: Annotated[Count, Field(ge=0, le=1_000_000)] = Field(
        1_000, description="Calls that may wait for a slot; the next one is refused with OVERLOADED."
    )
    max_batch_size: Annotated[Count, Field(ge=1, le=1_000)] = Field(
        5, description="Most waiting calls of one provider and one shared prefix that leave together."
    )
    max_wait_s: Annotated[Wait, Field(le=60)] = Field(
        2.0, description="Longest time that the first requests of a BatchComplete wait for the others before they leave one by one."
    )
    request_bytes: Annotated[Bytes, Field(ge=1_024, le=33_554_432)] = Field(33_554_432, description="Largest request message.")
    answer_bytes: Annotated[Bytes, Field(ge=1_024)] = Field(33_554_432, description="Largest answer that is read from a provider.")
    batch_items: Annotated[Count, Field(ge=1, le=1_000)] = Field(1_000, description="Most requests in one BatchComplete.")
    detached: Annotated[Count, Field(ge=0, le=100_000)] = Field(
        100, description="Provider calls that are read to their end after their caller has gone."
    )
    stream_buffer_bytes: Annotated[Bytes, Field(ge=1_024)] = Field(
        8_388_608, description="Text of one stream kept for callers who join it late."
    )
    repeat_index_bytes: Bytes = Field(
        16_777_216, description="Memory of the index that answers byte-equal requests without reading them; 0 turns it off."
    )
