"""The gateway's part of docs/performance.md, out of the numbers that a bench kept.

python -m tests.serve.bench.page [PAGE DIRECTORY]
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.serve.bench import kept
from tests.serve.bench.cells import MOST_OTHER_LOAD, PLAIN_1, PLAIN_8, PLAIN_32, STREAM_1, STREAM_16
from tests.serve.bench.peers import LITELLM_GUARDED, ROUTER
from tests.serve.bench.script import PAUSE_S, PIECES_OF_STEP, TEXT
from tests.serve.bench.targets import DIRECT, OURS
from tests.serve.programs import ROOT

PAGE: Final = ROOT / "docs" / "performance.md"
BEGIN: Final = "<!-- gateway: written by tests/serve/bench/page.py -->\n"
END: Final = "<!-- end of gateway -->\n"
_HERE: Final = Path(__file__).parent
_MOST_OF_ROUTER, _LEAST_UNDER_LITELLM = 3, 10


def rendered(load: kept.LoadRun | None, memory: kept.MemoryRun | None) -> str:
    """Markdown; a part that was not run is left out."""
    method = (_HERE / "method.md").read_text(encoding="utf-8")
    parts = [
        method.format(most_other_load=MOST_OTHER_LOAD, characters=len(TEXT), pause_ms=1e3 * PAUSE_S),
        *([_run(load), _cpu(load), _aims(load), _rates(load), _latency(load)] if load else []),
        *([_memory(memory)] if memory else []),
        _missing({**(load.missing if load else {}), **(memory.missing if memory else {})}),
    ]
    return "\n".join(part for part in parts if part)


def write(page: Path = PAGE, directory: Path = kept.DIRECTORY) -> None:
    """Put it between the markers, or at the end of a page that has none."""
    load, memory = directory / kept.LOAD, directory / kept.MEMORY
    text = rendered(
        kept.LoadRun.model_validate_json(load.read_bytes()) if load.exists() else None,
        kept.MemoryRun.model_validate_json(memory.read_bytes()) if memory.exists() else None,
    )
    old = page.read_text(encoding="utf-8")
    if BEGIN not in old:
        old = f"{old.rstrip()}\n\n{BEGIN}{END}"
    before, _, rest = old.partition(BEGIN)
    page.write_text(before + BEGIN + text + END + rest.partition(END)[2], encoding="utf-8")


def _run(load: kept.LoadRun) -> str:
    rows = [row for by in load.cells.values() for row in by.values()]
    again, noisy = sum(row.discarded for row in rows), sum(row.noisy for row in rows)
    failed = sum(row.failed for row in rows)
    told = f"Measured {load.when} on {load.machine}; {load.rounds} rounds; {again} cells measured again"
    told += f", **{noisy} kept in spite of other load**" if noisy else ""
    return f"{told}; {failed or 'no'} requests failed.\n"


def _cpu(load: kept.LoadRun) -> str:
    plain, stream = load.cells[PLAIN_8.name], load.cells[STREAM_16.name]
    rows = [
        (
            name,
            f"{plain[name].cpu_us:,.0f}",
            _times(plain, name),
            f"{stream[name].cpu_us / 1e3:,.2f}",
            _times(stream, name),
        )
        for name in plain
        if name != DIRECT
    ]
    head = ("CPU", "plain request, µs", "times vllm-router", "50-frame stream, ms", "times vllm-router")
    return _table(head, rows)


def _aims(load: kept.LoadRun) -> str:
    """What was aimed at, and whether it was reached."""
    rows: list[tuple[str, ...]] = []
    for what, cell in (("plain request", PLAIN_8), ("stream", STREAM_16)):
        by = load.cells[cell.name]
        if ROUTER in by:
            times = by[OURS].cpu_us / by[ROUTER].cpu_us
            reached = "reached" if times <= _MOST_OF_ROUTER else "missed"
            aim = f"{what}: at most {_MOST_OF_ROUTER} times vllm-router's CPU"
            rows.append((aim, f"{times:.1f} times", reached))
        if LITELLM_GUARDED in by:
            times = by[LITELLM_GUARDED].cpu_us / by[OURS].cpu_us
            reached = "reached" if times >= _LEAST_UNDER_LITELLM else "missed"
            aim = f"{what}: at most a tenth of the CPU of LiteLLM with its guardrail"
            rows.append((aim, f"1/{times:.0f}", reached))
    return _table(("aim", "measured", "state"), rows) if rows else ""


def _rates(load: kept.LoadRun) -> str:
    cells = [load.cells[cell.name] for cell in (PLAIN_1, PLAIN_8, PLAIN_32)]
    rows = [(name, *(f"{cell[name].per_s:,.0f}" for cell in cells)) for name in cells[0]]
    return _table(("plain requests a second", "1 caller", "8 callers", "32 callers"), rows)


def _latency(load: kept.LoadRun) -> str:
    by = load.cells[STREAM_1.name]
    direct = by[DIRECT]
    rows = [
        (
            name,
            *_added(row.first_text_ms, direct.first_text_ms),
            *_added(row.first_step_ms, direct.first_step_ms),
        )
        for name, row in by.items()
        if name != DIRECT
    ]
    told = (
        (_HERE / "latency.md")
        .read_text(encoding="utf-8")
        .format(
            text_ms=direct.first_text_ms[0],
            step_ms=direct.first_step_ms[0],
            streams=direct.streams,
            frames=PIECES_OF_STEP,
            wait_ms=direct.first_step_ms[0] - direct.first_text_ms[0],
            at_20_ms=20 * PIECES_OF_STEP,
        )
    )
    head = ("added, ms", "first text, p50", "p99", "end of first step, p50", "p99")
    return f"{told}\n{_table(head, rows)}"


def _added(row: tuple[float, float], direct: tuple[float, float]) -> list[str]:
    return [f"{one - two:.2f}" for one, two in zip(row, direct, strict=True)]


def _memory(memory: kept.MemoryRun) -> str:
    rows = [
        (
            name,
            f"{held['requests']:,.0f}",
            *(f"{held[when]:.0f}" for when in ("before", "warm", "after")),
            f"{held['bytes_per_request']:,.0f}",
        )
        for name, held in memory.targets.items()
    ]
    slope = "median slope of the last four fifths"
    told = f"Nine plain requests to a stream, 16 callers; {memory.when}; {slope}."
    head = ("resident, MiB", "requests", "before", "after a fifth", "after all", "slope, bytes a request")
    return f"{told}\n\n{_table(head, rows)}"


def _missing(missing: dict[str, str]) -> str:
    return "".join(f"{name} could not be run: {why}.\n" for name, why in missing.items())


def _times(by: dict[str, kept.Row], name: str) -> str:
    return f"{by[name].cpu_us / by[ROUTER].cpu_us:.1f}" if ROUTER in by else "?"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:]))
