"""What is answered: the teacher's trajectories, and which of them pass the gates."""

from collections import Counter, defaultdict

from align.records import Dropped, Trajectory
from align.report.figures import bars, stacked
from align.report.gather import Run, StageFolder
from align.report.histogram import histogram
from align.report.sample import Sample
from align.report.section import Body, Example
from align.report.spelling import number
from align.stages.workspace import DROPPED_FILE

_PASSED, _DROPPED = "passed", "dropped"


def trajectories(stage: StageFolder, run: Run) -> Body:
    """How long the replies are and how they ended."""
    lengths: list[int] = []
    tokens: list[int] = []
    reasons, teachers = Counter[str](), Counter[str]()
    answered: set[str] = set()
    sample = Sample[Trajectory]()
    for row in stage.rows(Trajectory):
        lengths.append(len(row.completion))
        if row.usage:
            tokens.append(row.usage.completion_tokens)
        reasons[row.finish_reason] += 1
        teachers[row.teacher] += 1
        answered.add(row.query_id)
        sample.add(row.id, row)
    untold = len(lengths) - len(tokens)
    note = f"Of {number(untold)} replies the server did not say." if untold else ""
    figures = (
        histogram("Length of the reply", lengths, "characters"),
        histogram("Length of the reply in tokens", tokens, "tokens", note),
        bars("How replies ended", reasons),
        bars("Teachers", teachers),
    )
    return Body(len(lengths), len(answered), figures, examples=_examples(sample, run))


def gates(stage: StageFolder, run: Run) -> Body:
    """Which categories lose how much."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    passed: set[str] = set()
    count = 0
    sample = Sample[Trajectory]()
    for row in stage.rows(Trajectory):
        count += 1
        passed.add(row.query_id)
        found[run.by_category(row.query_id)][_PASSED] += 1
        sample.add(row.id, row)
    for dropped in stage.rows(Dropped, DROPPED_FILE):
        found[run.by_category(query_id(dropped.id, run))][_DROPPED] += 1
    named = {run.titled(name): found[name] for name in run.in_order(found) if name in found}
    figure = stacked("Passed and dropped, by category", named, (_PASSED, _DROPPED), alike=True)
    return Body(count, len(passed), (figure,), examples=_examples(sample, run))


def query_id(id_: str, run: Run) -> str:
    """The query of a dropped row, which names it alone or with #candidate."""
    return id_ if id_ in run.abouts else id_.rpartition("#")[0]


def _examples(sample: Sample[Trajectory], run: Run) -> tuple[Example, ...]:
    return tuple(reply_example(row.id, row.query_id, row.completion, run) for row in sample.items)


def reply_example(id_: str, query: str, reply: str, run: Run, *more: tuple[str, str]) -> Example:
    """A reply with the instruction it answers."""
    about = run.abouts.get(query)
    asked = (("instruction", about.instruction),) if about else ()
    return Example(id_, (*asked, *more, ("reply", reply)))
