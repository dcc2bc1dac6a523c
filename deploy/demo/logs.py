"""The ends of logs that another process is still writing."""

from pathlib import Path

_LONGEST_LINE_BYTES = 400


def tail(log: Path, lines: int) -> str:
    """The last lines of a log, however long it is; empty while there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LONGEST_LINE_BYTES * lines))
            text = file.read().decode(errors="replace").rstrip()
    except FileNotFoundError:
        return ""
    # A progress bar rewrites its line: only the last state counts.
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")[-lines:])


def last_line(log: Path) -> str:
    """The last line of a log."""
    return tail(log, 1)
