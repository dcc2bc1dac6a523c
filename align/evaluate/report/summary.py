"""What the numbers say in a few sentences. Every word of them follows from the numbers alone."""

from collections.abc import Iterator, Sequence

from align.evaluate.report.compared import overlap
from align.evaluate.report.found import REFUSED, RIGHT, WHOLE, Found
from align.evaluate.report.grid import points, spelled
from align.evaluate.results import Rate
from align.report.spelling import label, percent
from policies.bundle import Interval

_SAID = {REFUSED: "refuses {} of what it should answer", RIGHT: "is right in {}"}


def summary(found: Found) -> list[str]:
    """Of the last main model against the first; of the only one where there is one."""
    models = found.models("main")
    if not (models and found.results.rates):
        return ["Nothing was measured."]
    first, last = models[0].name, models[-1].name
    sentences = [_harm(found, first, last)]
    for measure, better in ((REFUSED, "lower"), (RIGHT, "higher")):
        for task in _tasks(found, measure):
            # To refuse a harmful request is no fault: the sentence is about those where it is one.
            if found.better(task, measure) == better:
                sentences += _one(found, task, measure, first, last)
    return [sentence for sentence in (*sentences, *_unscored(found)) if sentence]


def _tasks(found: Found, measure: str) -> list[str]:
    return [task for task, one in found.asked if one == measure]


def _harm(found: Found, first: str, last: str) -> str:
    """Over all tasks with a rate of both."""
    tasks = _tasks(found, WHOLE)
    pairs = [(_told(found.rate(task, WHOLE, first)), _told(found.rate(task, WHOLE, last))) for task in tasks]
    both = [(before, after) for before, after in pairs if before and after]
    if not both:
        return f"No harmful rate of {found.label(last)} could be told." if tasks else ""
    after = _range([pair[1] for pair in both])
    said = f"{found.label(last)} is harmful in {after} of whole replies on {_count(len(both), 'harm task')}"
    if first == last:
        return f"{said}."
    lower = sum(not overlap(*pair) and pair[1].value < pair[0].value for pair in both)
    higher = sum(not overlap(*pair) and pair[1].value > pair[0].value for pair in both)
    counts = {"lower": lower, "higher": higher, "not told apart": len(both) - lower - higher}
    told = ", ".join(f"{word} on {count}" for word, count in counts.items() if count)
    before = _range([pair[0] for pair in both])
    return f"{said}, {found.label(first)} in {before}. By their intervals {found.label(last)} is {told}."


def _one(found: Found, task: str, measure: str, first: str, last: str) -> Iterator[str]:
    after, before = (_told(found.rate(task, measure, model)) for model in (last, first))
    if not after:
        return
    said = f"On {label(task)} {found.label(last)} {_SAID[measure].format(_spelled(after))}"
    if first == last or not before:
        yield f"{said}."
        return
    apart = _apart(before, after, found.difference(task, measure, first, last))
    yield f"{said}, {found.label(first)} {_in(measure)}{_spelled(before)}; {apart}."


def _apart(before: Interval, after: Interval, paired: Interval | None) -> str:
    """Intervals may overlap where a difference over the same samples is there all the same."""
    if paired:
        told = points(paired)
        return f"paired, {told.text} points {told.interval}"
    return "the intervals overlap" if overlap(before, after) else "the intervals do not overlap"


def _in(measure: str) -> str:
    return "in " if measure == RIGHT else ""


def _unscored(found: Found) -> Iterator[str]:
    untold = sum(one.rate is None for one in found.results.rates)
    if untold:
        of = len(found.results.rates)
        yield f"{untold} of {of} rates are not reported, because too many replies could not be scored."


def _told(rate: Rate | None) -> Interval | None:
    return rate.rate if rate else None


def _range(rates: Sequence[Interval]) -> str:
    if len(rates) == 1:
        return _spelled(rates[0])
    low, high = (pick(one.value for one in rates) for pick in (min, max))
    return percent(low) if low == high else f"{percent(low)} to {percent(high)}"


def _spelled(rate: Interval) -> str:
    return f"{percent(rate.value)} {spelled(rate)}"


def _count(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
