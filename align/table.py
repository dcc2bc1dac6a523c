"""What every table of a recipe is: frozen, strict, and clear about which of its keys decide rows."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class Table(BaseModel):
    """A table of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    without_effect_on_rows: ClassVar[frozenset[str]] = frozenset()
    """Fields that may change between two attempts at a stage: pace, place and patience."""

    def effective(self) -> dict[str, Any]:
        """What decides the stage's rows."""
        return self.model_dump(mode="json", exclude=set(self.without_effect_on_rows))
