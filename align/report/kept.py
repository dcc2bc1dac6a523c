"""What is kept: the training rows, and the replies that are set against each other in pairs."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from align.records import Derived, Pair, Scored, SftRow
from align.report.answered import reply_example
from align.report.asked import category_bars
from align.report.figures import Balance, Figure, balance, bars, spread, stacked
from align.report.gather import NO_POLICY, Run, StageFolder, severity
from align.report.histogram import histogram, ratio_histogram
from align.report.sample import Sample
from align.report.section import Body, Example
from align.report.spelling import number, percent
from align.report.thumbnails import thumbnail
from policies.reply import Verdict

VERDICTS = tuple(verdict.replace("_", " ") for verdict in Verdict)
_ANOTHER = "another"
_PICTURES = 6
_EXAMPLES = 3


@dataclass
class Axes:
    """What a selection is balanced by."""

    categories: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)

    def add(self, category: str, source: str, severity: str) -> None:
        self.categories[category] += 1
        self.sources[source] += 1
        self.severities[severity] += 1


def select(stage: StageFolder, run: Run) -> Body:
    """How the training rows are made up, beside what they were chosen from."""
    after = Axes()
    verdicts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    lengths: defaultdict[str, list[int]] = defaultdict(list)
    queries: set[str] = set()
    sample = Sample[SftRow](_PICTURES)
    for row in stage.rows(SftRow):
        category = row.category or NO_POLICY
        after.add(category, row.source, severity(row.severity))
        verdict = _words(row.verdict) if _words(row.verdict) in VERDICTS else _ANOTHER
        verdicts[category][verdict] += 1
        lengths[verdict].append(len(row.completion))
        queries.add(row.id)
        sample.add(row.id, row)
    parts = [*VERDICTS, _ANOTHER] if _ANOTHER in lengths else VERDICTS
    by_category = {run.titled(name): verdicts[name] for name in run.in_order(verdicts)}
    figures = (
        stacked("Categories and verdicts", by_category, parts, tones="verdicts", alike=True),
        *_balances(_before(run), after, run),
        histogram("Length of the reply", [one for group in lengths.values() for one in group], "characters"),
        spread("Length of the reply by verdict, in characters", dict(sorted(lengths.items()))),
    )
    return Body(
        after.sources.total(),
        len(queries),
        figures,
        examples=tuple(_sft_example(row) for row in sample.items[:_EXAMPLES]),
        pictures=_pictures(sample.items, run.directory),
    )


def _before(run: Run) -> Axes:
    """D_HQ: every trajectory with full marks."""
    axes = Axes()
    if stage := run.stages.get("score"):
        for row in stage.rows(Scored):
            if about := run.abouts.get(row.query_id):
                axes.add(about.category, about.source, about.severity)
    return axes


def _balances(before: Axes, after: Axes, run: Run) -> tuple[Figure, ...]:
    def one(title: str, axis: Callable[[Axes], Mapping[str, int]], names: list[str]) -> Balance:
        old, new = ({run.titled(name): axis(axes).get(name, 0) for name in names} for axes in (before, after))
        return balance(title, ("full marks", "selected"), old, new)

    return (
        one(
            "Balance of categories",
            lambda axes: axes.categories,
            run.in_order({**before.categories, **after.categories}),
        ),
        one("Balance of sources", lambda axes: axes.sources, sorted({*before.sources, *after.sources})),
        one(
            "Balance of severities",
            lambda axes: axes.severities,
            sorted({*before.severities, *after.severities}),
        ),
    )


def _sft_example(row: SftRow) -> Example:
    return Example(row.id, (("instruction", row.instruction), ("reply", row.completion)))


def _pictures(rows: tuple[SftRow, ...], directory: Path) -> tuple[tuple[str, str], ...]:
    found = ((thumbnail(directory, row.image), row.id) for row in rows)
    return tuple((url, id_) for url, id_ in found if url)


def derive(stage: StageFolder, run: Run) -> Body:
    """Whose conclusions were fixed, and how much reasoning was written for them."""
    conclusions, adversaries = Counter[str](), Counter[str]()
    lengths: list[int] = []
    queries: set[str] = set()
    sample = Sample[Derived]()
    for row in stage.rows(Derived):
        conclusions[row.conclusion_of] += 1
        adversaries[row.adversary] += 1
        lengths.append(len(row.completion))
        queries.add(row.query_id)
        sample.add(f"{row.query_id} {row.conclusion_of}", row)
    figures = (
        bars("Whose conclusion", conclusions),
        bars("Adversaries", adversaries),
        histogram("Length of the reply", lengths, "characters"),
    )
    examples = tuple(
        reply_example(row.query_id, row.query_id, row.completion, run, ("conclusion of", row.conclusion_of))
        for row in sample.items
    )
    return Body(len(lengths), len(queries), figures, examples=examples)


def pairs(stage: StageFolder, run: Run) -> Body:
    """How pairs were made and decided, and whether length could give the answer away."""
    kinds, decided, categories = (Counter[str]() for _ in range(3))
    ratios: list[float] = []
    lengths: defaultdict[str, list[int]] = defaultdict(list)
    queries: set[tuple[str, str]] = set()
    sample = Sample[Pair]()
    for row in stage.rows(Pair):
        kinds[_words(row.kind)] += 1
        decided[row.decided_by] += 1
        categories[row.category or NO_POLICY] += 1
        for reply, text in (("chosen", row.chosen), ("rejected", row.rejected)):
            lengths[f"{_words(row.kind)}, {reply}"].append(len(text))
        if row.chosen and row.rejected:
            ratios.append(len(row.chosen) / len(row.rejected))
        queries.add((row.instruction, row.image))
        sample.add(row.id, row)
    figures = (
        bars("How pairs were made", kinds),
        bars("First priority in which the rejected reply is worse", decided),
        category_bars("Categories", categories, run),
        ratio_histogram("Length of the chosen reply to that of the rejected", ratios, _longest(ratios)),
        spread("Length of the replies, in characters", dict(sorted(lengths.items()))),
    )
    examples = tuple(_pair_example(row) for row in sample.items)
    return Body(kinds.total(), len(queries), figures, examples=examples)


def _longest(ratios: list[float]) -> str:
    if not ratios:
        return ""
    longer = percent(sum(ratio > 1 for ratio in ratios) / len(ratios))
    most = max(max(ratio, 1 / ratio) for ratio in ratios)
    return (
        f"The longer reply of a pair is at most {most:.2f} times the shorter; "
        f"the chosen one is the longer in {longer} of {number(len(ratios))} pairs."
    )


def _pair_example(row: Pair) -> Example:
    made = f"{_words(row.kind)}; worse in {row.decided_by}"
    return Example(
        row.id,
        (("instruction", row.instruction), ("how", made)),
        beside=(
            (f"chosen, by {row.chosen_by}", row.chosen),
            (f"rejected, by {row.rejected_by}", row.rejected),
        ),
    )


def _words(name: str) -> str:
    return name.replace("_", " ")
