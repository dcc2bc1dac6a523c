"""Why a launched training ended, as a file says it: whoever launched it raises what its process raised."""

from contextlib import suppress
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from align.errors import StageAborted
from align.records import RecordError
from align.train.errors import TrainingFailed

FAILED_FILE = "failed.json"
_OWN = {kind.__name__: kind for kind in (TrainingFailed, StageAborted, RecordError)}
TOLD = (*_OWN.values(), OSError)
"""What a process says to whoever launched it; anything else is a fault of the program, with its traceback."""


class Failure(BaseModel):
    """One exception of `TOLD`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    message: str
    errno: int | None = None
    filename: str | None = None
    """These two of an OSError."""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """As the exception says it."""
        if not isinstance(error, OSError):
            return cls(kind=type(error).__name__, message=str(error))
        filename = None if error.filename is None else str(error.filename)
        return cls(kind="OSError", message=error.strerror or str(error), errno=error.errno, filename=filename)

    def exception(self) -> Exception:
        """The exception again."""
        if self.kind != "OSError":
            return _OWN.get(self.kind, TrainingFailed)(self.message)
        if self.errno is None:
            return OSError(self.message)
        return OSError(self.errno, self.message, self.filename)


def leave_failure(out: Path, error: Exception) -> None:
    """Write it into `out`, if this process is the first: the others fail because of it.

    Without a word where there is no room for one.
    """
    with suppress(OSError), (out / FAILED_FILE).open("x", encoding="utf-8") as file:
        file.write(Failure.of(error).model_dump_json())


def failure(out: Path, status: int) -> Exception:
    """What a process left in `out`; TrainingFailed with the status where there was no time or room for it."""
    try:
        return Failure.model_validate_json((out / FAILED_FILE).read_bytes()).exception()
    except (OSError, ValidationError):
        return TrainingFailed(f"a launched process failed: status {status}; see above")
