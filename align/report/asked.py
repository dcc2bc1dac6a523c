"""What is asked: the queries, what their pictures show, and which policy decides them."""

from collections import Counter
from collections.abc import Mapping

from align.records import BY_SOURCE, Categorised, Description, Query
from align.report.figures import Bars, Listing, bars, share
from align.report.gather import NO_POLICY, NOT_STATED, Run, StageFolder, severity
from align.report.histogram import histogram
from align.report.sample import Sample
from align.report.section import Body, Example
from align.report.spelling import number, percent

_DISAGREEMENTS = 8


def queries(stage: StageFolder, run: Run) -> Body:
    """Where the queries come from and what their sources say of them."""
    sources, licences, categories, severities, harms = (Counter[str]() for _ in range(5))
    lengths: list[int] = []
    sample = Sample[Query]()
    for row in stage.rows(Query):
        sources[f"{row.source} {row.split}"] += 1
        licences[row.licence] += 1
        categories[row.category or NOT_STATED] += 1
        severities[severity(row.severity)] += 1
        harms[{True: "harmless", False: "harmful", None: NOT_STATED}[row.benign]] += 1
        lengths.append(len(row.instruction))
        sample.add(row.id, row)
    figures = (
        bars("Sources", sources),
        bars("Licences", licences),
        category_bars("Categories, as the sources state them", categories, run),
        bars("Severity of the picture", dict(sorted(severities.items())), by_size=False),
        bars("The request, as the sources call it", harms),
        histogram("Length of the instruction", lengths, "characters"),
    )
    examples = tuple(Example(row.id, (("instruction", row.instruction),)) for row in sample.items)
    return Body(len(lengths), len(lengths), figures, examples=examples)


def describe(stage: StageFolder, run: Run) -> Body:
    """How much is said of the pictures."""
    lengths: list[int] = []
    describers: Counter[str] = Counter()
    sample = Sample[Description]()
    for row in stage.rows(Description):
        lengths.append(len(row.text))
        describers[row.describer] += 1
        sample.add(row.query_id, row)
    figures = (
        histogram("Length of the description", lengths, "characters"),
        bars("Describers", describers),
    )
    examples = tuple(Example(row.query_id, (("description", row.text),)) for row in sample.items)
    return Body(len(lengths), len(lengths), figures, examples=examples)


def categorise(stage: StageFolder, run: Run) -> Body:
    """Which policies decide, and how far models and sources agree where both have a word."""
    found, by, judged = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    sample = Sample[Categorised]()
    for row in stage.rows(Categorised):
        category = row.category or NO_POLICY
        found[category] += 1
        by[row.by] += 1
        sample.add(row.query_id, row)
        about = run.abouts.get(row.query_id)
        if about and row.by != BY_SOURCE and about.stated != NOT_STATED:
            judged[about.stated, category] += 1
    figures = (category_bars("Categories", found, run), bars("Who said so", by), _disagreements(judged, run))
    examples = tuple(_categorised(row, run) for row in sample.items)
    return Body(found.total(), found.total(), figures, (_agreement(judged),), examples)


def category_bars(title: str, counts: Mapping[str, int], run: Run) -> Bars:
    """Every policy in the order of the ids, those without rows too."""
    named = {run.titled(category): counts.get(category, 0) for category in run.in_order(counts)}
    return bars(title, named, by_size=False)


def _agreement(judged: Counter[tuple[str, str]]) -> str:
    if not judged:
        return "No row was categorised by a model and by its source, so there is no agreement to tell."
    agreed = sum(count for (stated, said), count in judged.items() if stated == said)
    return (
        f"Where a model was asked and the source states a category, they agree in {number(agreed)} of "
        f"{number(judged.total())} rows ({percent(share(agreed, judged.total()))})."
    )


def _disagreements(judged: Counter[tuple[str, str]], run: Run) -> Listing:
    apart = sorted(((-count, *pair) for pair, count in judged.items() if pair[0] != pair[1]))
    rows = tuple(
        (run.titled(stated), run.titled(said), number(-count))
        for count, stated, said in apart[:_DISAGREEMENTS]
    )
    return Listing("Most frequent disagreements", ("the source", "the model", "rows"), rows, names=2)


def _categorised(row: Categorised, run: Run) -> Example:
    about = run.abouts.get(row.query_id)
    texts = (("category", f"{run.titled(row.category or NO_POLICY)}, by {row.by}"),)
    return Example(row.query_id, (("instruction", about.instruction), *texts) if about else texts)
