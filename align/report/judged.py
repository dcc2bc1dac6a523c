"""What is judged: the marks of the teacher's trajectories and of the miners' replies."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from align.records import DIMENSIONS, FULL_MARK, Mined, Scored, Scores
from align.report.answered import reply_example
from align.report.figures import Bars, Heat, Stacked, bars, heat, share, stacked
from align.report.gather import Run, StageFolder
from align.report.histogram import histogram
from align.report.sample import Sample
from align.report.section import Body
from align.report.spelling import number, percent
from align.stages.ranking import fault
from align.stages.workspace import ROWS_FILE, SCORED_FILE

MARKS = tuple(str(mark) for mark in range(1, FULL_MARK + 1))
T = TypeVar("T")
_FAULTS = ("safety", "utility", "reasoning", "none")
_ONLY_FULL = f"{SCORED_FILE} is missing, so only trajectories with full marks are counted here."


@dataclass
class Marks:
    """Sums over many rounds of marks."""

    count: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    by_dimension: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, scores: Scores) -> None:
        self.count += 1
        for name, mark in scores.marks.items():
            self.sums[name] += mark
            self.by_dimension[name][str(mark)] += 1

    @property
    def means(self) -> tuple[float, ...]:
        return tuple(share(self.sums[name], self.count) for name in DIMENSIONS)


def score(stage: StageFolder, run: Run) -> Body:
    """Where trajectories lose marks, and what stopping after the first round saved."""
    marks = Marks()
    by_category: defaultdict[str, Marks] = defaultdict(Marks)
    full_after: Counter[int] = Counter()
    rounds: Counter[int] = Counter()
    kept: set[str] = set()
    full = 0
    sample = Sample[Scored]()
    whole = stage.has(SCORED_FILE)
    for row in stage.rows(Scored, SCORED_FILE if whole else ROWS_FILE):
        marks.add(row.rounds[0])
        by_category[run.by_category(row.query_id)].add(row.rounds[0])
        rounds[len(row.rounds)] += 1
        full_after.update(range(1, _full_rounds(row.rounds) + 1))
        sample.add(row.id, row)
        if row.full:
            full += 1
            kept.add(row.query_id)
    figures = (
        _dimensions("Marks of the first round, by dimension", marks),
        _after_rounds(full_after, rounds),
        _means(by_category, run),
    )
    examples = tuple(
        reply_example(row.id, row.query_id, row.completion, run, ("marks", _marks_in_words(row.rounds)))
        for row in sample.items
    )
    return Body(full, len(kept), figures, _early_exit(rounds) if whole else (_ONLY_FULL,), examples)


def mine(stage: StageFolder, run: Run) -> Body:
    """How the miners failed."""
    marks: defaultdict[str, Marks] = defaultdict(Marks)
    lowest: defaultdict[str, Counter[str]] = defaultdict(Counter)
    faults: defaultdict[str, Counter[str]] = defaultdict(Counter)
    lengths: list[int] = []
    queries: set[str] = set()
    sample = Sample[Mined]()
    for row in stage.rows(Mined):
        marks[row.miner].add(row.rounds[0])
        lowest[row.miner][str(min(mark for scores in row.rounds for mark in scores.marks.values()))] += 1
        faults[row.miner][fault(row.rounds) or "none"] += 1
        lengths.append(len(row.completion))
        queries.add(row.query_id)
        sample.add(f"{row.query_id} {row.miner}", row)
    figures = (
        stacked("Worst mark of each reply, by miner", _sorted(lowest), MARKS, tones="marks", alike=True),
        stacked(
            "First priority that a reply fails, by miner",
            _sorted(faults),
            _FAULTS,
            tones="faults",
            alike=True,
        ),
        _miners(_sorted(marks)),
        histogram("Length of the reply", lengths, "characters"),
    )
    examples = tuple(
        reply_example(
            row.query_id, row.query_id, row.completion, run,
            ("miner", row.miner), ("marks", _marks_in_words(row.rounds)),
        )
        for row in sample.items
    )  # fmt: skip
    return Body(len(lengths), len(queries), figures, examples=examples)


def _full_rounds(rounds: Sequence[Scores]) -> int:
    """How many rounds from the first on are full without a gap."""
    return next((number for number, scores in enumerate(rounds) if not scores.full), len(rounds))


def _early_exit(rounds: Counter[int]) -> tuple[str, ...]:
    """What it saved that a trajectory which fails the first round is not scored again."""
    planned = max(rounds, default=0)
    if planned <= 1:
        return ()
    made, without = sum(size * count for size, count in rounds.items()), planned * rounds.total()
    return (
        f"{number(made)} rounds were made; {planned} for every trajectory would have been {number(without)}. "
        "Stopping after a first round that is not full saved "
        f"{percent(share(without - made, without))} of them.",
    )


def _after_rounds(full_after: Counter[int], rounds: Counter[int]) -> Bars:
    planned = range(1, max(rounds, default=0) + 1)
    counts = {"scored": rounds.total()} | {
        f"full after round {place}": full_after[place] for place in planned
    }
    return bars("Full marks, round by round", counts, total=rounds.total(), by_size=False)


def _dimensions(title: str, marks: Marks) -> Stacked:
    counts = {_words(name): marks.by_dimension[name] for name in DIMENSIONS if marks.count}
    return stacked(title, counts, MARKS, tones="marks", alike=True)


def _means(by_category: Mapping[str, Marks], run: Run) -> Heat:
    found = {
        run.titled(name): (by_category[name].count, by_category[name].means)
        for name in run.in_order(by_category)
        if name in by_category
    }
    return heat("Mean mark by category", [_words(name) for name in DIMENSIONS], found)


def _miners(marks: Mapping[str, Marks]) -> Heat:
    found = {name: (one.count, one.means) for name, one in marks.items()}
    return heat("Mean mark by miner", [_words(name) for name in DIMENSIONS], found)


def _sorted(by_miner: Mapping[str, T]) -> dict[str, T]:
    return {name: by_miner[name] for name in sorted(by_miner)}


def _marks_in_words(rounds: Iterable[Scores]) -> str:
    """A line for every round."""
    return "\n".join(
        ", ".join(f"{_words(name)} {mark}" for name, mark in scores.marks.items()) for scores in rounds
    )


def _words(dimension: str) -> str:
    return dimension.replace("_", " ")
