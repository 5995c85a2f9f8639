"""What the sections of a recipe have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(ge=1e-30, le=1e30)]  # with room to the ends of float32
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of a recipe: only the keys that it knows, and no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)
