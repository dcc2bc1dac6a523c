"""What every table of the settings is."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Table(BaseModel):
    """Frozen, and strict about names: an unknown one stops the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _resolved(value: object) -> object:
    return Path(value).expanduser().resolve() if isinstance(value, str | Path) else value


# The engine runs in another directory, so no path may stay relative.
AbsolutePath = Annotated[Path, BeforeValidator(_resolved)]
