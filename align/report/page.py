"""The page: one self-contained HTML file about a run, finished or not.

It asks nothing of any other server and runs no script: its content policy forbids both, so text that
slipped through would still do nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from align.records import RecordError
from align.report import answered, asked, judged, kept, measured, trained
from align.report.figures import Figure, bars, share
from align.report.gather import Drops, Run, StageFolder, drops_of, gather
from align.report.html import environment, put
from align.report.section import Body
from align.report.totals import totals
from align.stages.workspace import JOURNEY, ROWS_FILE

REPORT_FILE = "report.html"

BODIES: Mapping[str, Callable[[StageFolder, Run], Body | None]] = {
    "queries": asked.queries,
    "describe": asked.describe,
    "categorise": asked.categorise,
    "trajectories": answered.trajectories,
    "gates": answered.gates,
    "score": judged.score,
    "select": kept.select,
    "mine": judged.mine,
    "derive": kept.derive,
    "pairs": kept.pairs,
    "sft": trained.training,
    "srpo": trained.training,
    "evaluate": measured.evaluate,
}
"""Stages whose rows the report reads; of the others it tells what their manifests say."""
_FUNNEL = JOURNEY[: JOURNEY.index("pairs") + 1]


@dataclass(frozen=True)
class Section:
    """One stage on the page."""

    stage: StageFolder
    body: Body | None
    drops: Drops
    problem: str = ""
    """Why rows of an unfinished stage are not shown."""

    @property
    def rows(self) -> int | None:
        """By the manifest, or so far; None where nothing can be counted yet."""
        if self.stage.manifest:
            return self.stage.manifest.rows
        return self.body.rows if self.body else None

    @property
    def decided(self) -> int | None:
        """Rows that the stage kept or dropped."""
        return None if self.rows is None else self.rows + self.drops.total

    @property
    def kept_share(self) -> float | None:
        """The yield; None where nothing was decided, and for stages that do not choose rows."""
        if self.stage.name not in _FUNNEL or not self.decided:
            return None
        return share(self.rows or 0, self.decided)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What was dropped, then what the rows say."""
        named = {reason.replace("_", " "): count for reason, count in self.drops.counts.items()}
        dropped = (bars("Dropped, by reason", named),) if named else ()
        return (*dropped, *(self.body.figures if self.body else ()))


def write_report(run_directory: Path, out: Path | None = None) -> Path:
    """Write the report of a run to `out`, or into the run directory; returns where it is.

    Atomic, and seconds of work for 15,500 queries. RecordError where there is no such directory, or where
    a complete stage's rows cannot be read; RecipeError where the page cannot be written.
    """
    run = gather(run_directory)
    path = out or run_directory / REPORT_FILE
    put(path, page(run))
    return path


def page(run: Run) -> str:
    """The whole page."""
    sections = [_section(stage, run) for stage in run.stages.values()]
    template = environment().get_template("report.html.j2")
    return template.render(
        run=run,
        name=run.directory.resolve().name,
        totals=totals(run),
        sections=sections,
        funnel=[section for section in sections if section.stage.name in _FUNNEL],
        absent=[name for name in JOURNEY if name not in run.stages],
        queries=next((section.rows for section in sections if section.stage.name == "queries"), None),
    )


def _section(stage: StageFolder, run: Run) -> Section:
    has_rows = bool(stage.manifest) or stage.has(ROWS_FILE)
    # What trains or measures leaves no rows, and tells by itself whether there is anything yet.
    read = BODIES.get(stage.name) if has_rows or stage.name not in _FUNNEL else None
    try:
        return Section(stage, read(stage, run) if read else None, drops_of(stage))
    except RecordError as error:
        if stage.manifest:
            raise
        return Section(stage, None, Drops({}, {}), str(error))
