"""What all sections of the settings have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict

from aigend.config.units import spelled

Name = Annotated[str, spelled(r"[A-Za-z0-9._-]{1,64}", "1 to 64 letters, digits, '.', '_' or '-'")]


class Section(BaseModel):
    """A part of the settings: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
