"""The settings of deferred work that comes from a directory."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from aigend.config.section import Section
from aigend.config.units import Bytes, Count, Seconds


class InboxSettings(Section):
    """Deferred work from a directory of JSON lines; off unless `directory` is set."""

    directory: Path | None = Field(
        None, description="Directory with inbox, work, results, done and refused, for its owner only; null is off."
    )
    poll_s: Seconds = Field(2.0, description="Time between two looks for new files.")
    max_in_flight: Annotated[Count, Field(ge=1, le=100_000)] = Field(
        2_000, description="Lines that may be under way; a batch job can't have more of them."
    )
    max_size_bytes: Annotated[Bytes, Field(ge=1_024)] = Field(
        128_000_000, description="Size of the lines under way from which no more are begun."
    )
    max_file_bytes: Annotated[Bytes, Field(ge=1_024, le=2**31)] = Field(
        64_000_000, description="Size of the largest file that is taken; a larger one is refused."
    )
    retry_delay_s: Seconds = Field(
        5.0, description="First wait after a refusal that may pass (budgets, overload, a full disk); it doubles."
    )
    max_retry_delay_s: Seconds = Field(300.0, description="Longest such wait, unless the refusal names a longer one.")
    patience_s: Seconds = Field(
        86_400.0, description="How long such refusals of a line are waited out; the next one is its result. A restart begins anew."
    )
