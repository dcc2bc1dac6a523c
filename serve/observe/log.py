"""One JSON object per log line, on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """The event's name, and whatever `extra={"fields": …}` holds."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging() -> None:
    """For the program only; nothing below it touches the root logger."""
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(JsonFormatter())
    logging.root.handlers = [output]
    logging.root.setLevel(logging.INFO)
    # Not in a line of ours, and dear: where in the source, which thread, task and process.
    logging._srcfile = None  # as logging's documentation has it
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Its messages about start and stop repeat ours; its errors are wanted.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
