"""The results by what a reader looks for: whose rate, in which task, of what. No number is made here."""

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cached_property

from align.errors import RecipeError
from align.evaluate.results import Better, Model, Rate, Results
from align.report.spelling import label, number
from policies.bundle import Interval

HARM = "harm"
FAILURE_MODES = "failure_modes"
WHOLE = "harm.whole"
REFUSED = "refusal.answer"
RIGHT = "correct.answer"
HEADLINES = (WHOLE, REFUSED, "refusal.says_unsafe", RIGHT, "effective.answer", "effective.and_safe")
"""What is compared where many models stand side by side."""
_NAMES = {
    "harm.reasoning": "harmful, reasoning",
    "harm.answer": "harmful, answer",
    WHOLE: "harmful, whole reply",
    REFUSED: "refused",
    "refusal.says_unsafe": "called unsafe",
    RIGHT: "right",
    "effective.answer": "effective",
    "effective.and_safe": "effective and safe",
    "trace.parsed": "parsed",
    "trace.citations_valid": "citations valid",
    "trace.sources_right": "sources right",
    "trace.citations_right": "citations right",
    "trace.named_subject": "names the subject",
}


@dataclass(frozen=True)
class Found:
    """Results and what they can be asked for."""

    results: Results

    @cached_property
    def _rates(self) -> dict[tuple[str, str, str], Rate]:
        return {(one.task, one.measure, one.model): one for one in self.results.rates}

    @cached_property
    def _labels(self) -> dict[str, str]:
        return {model.name: label(model.label) for model in self.results.models}

    @cached_property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """Each task with each of its measures, in the order of the results, a task's measures together."""
        pairs = dict.fromkeys((one.task, one.measure) for one in self.results.rates)
        tasks = dict.fromkeys(task for task, _ in pairs)
        return tuple(pair for task in tasks for pair in pairs if pair[0] == task)

    def rate(self, task: str, measure: str, model: str) -> Rate | None:
        """None where it was not measured."""
        return self._rates.get((task, measure, model))

    def rates(self, task: str, measure: str) -> Iterator[Rate]:
        """Of every model that has one."""
        return (one for one in self.results.rates if (one.task, one.measure) == (task, measure))

    def better(self, task: str, measure: str) -> Better | None:
        """Which way is better; None where no rate tells it."""
        return next((one.better for one in self.rates(task, measure)), None)

    def difference(self, task: str, measure: str, first: str, second: str) -> Interval | None:
        """Second less first over the samples of both; None where they were not compared."""
        told = (one for one in self.results.differences if (one.task, one.measure) == (task, measure))
        return next((one.difference for one in told if (one.first, one.second) == (first, second)), None)

    def requests(self, task: str, models: Set[str]) -> str:
        """How many different requests these models' rates are over, in words; empty where nobody knows."""
        told = (one for one in self.results.rates if one.task == task and one.model in models and one.rate)
        known = {one.distinct for one in told if one.distinct is not None}
        if not known:
            return ""
        least, most = (number(pick(known)) for pick in (min, max))
        span = least if least == most else f"{least} to {most}"
        return f"{span} distinct request{'' if most == '1' else 's'}"

    def models(self, *groups: str) -> tuple[Model, ...]:
        """In the order of the results; the first of `main` is what the others are compared with."""
        return tuple(model for model in self.results.models if model.group in groups)

    def label(self, model: str) -> str:
        """What readers see."""
        return self._labels[model]


def found(results: Results) -> Found:
    """Results that can be shown whole; RecipeError where a number belongs to nobody or stands twice."""
    named = {model.name for model in results.models}
    used = {one.model for one in results.rates} | {one.model for one in results.categories}
    used |= {one.model for one in results.faithfulness} | {one.model for one in results.worst}
    used |= {side for one in results.differences for side in (one.first, one.second)}
    if used - named:
        unknown = ", ".join(sorted(map(label, used - named)))
        raise RecipeError(f"the results hold numbers of models that they do not list: {unknown}")
    counts = Counter((one.task, one.measure, one.model) for one in results.rates)
    twice = [" ".join(map(label, key)) for key, count in counts.items() if count > 1]
    if twice:
        raise RecipeError(f"the results hold two rates of {twice[0]}: keep one")
    return Found(results)


def measure_name(measure: str) -> str:
    """A measure in words; one that is not known here by its scorer and key."""
    return _NAMES.get(measure) or label(measure.replace("_", " ").replace(".", ", "))


def headline_name(measure: str) -> str:
    """Shorter, where the view goes without saying."""
    return "harmful" if measure == WHOLE else measure_name(measure)


def scorer_of(measure: str) -> str:
    """The part before the point."""
    return measure.partition(".")[0]


def scored(rate: Rate) -> int:
    """Samples that the rate is over."""
    return rate.n - rate.unscored
