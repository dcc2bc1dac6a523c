"""An evaluation's results as one JSON file: what was measured on whom, with intervals, and what to look at.

Written once by the command, read by the report and by `docs/results.md`'s test. No model and no harness
is known here. Rates are shares in [0, 1]; NaN never occurs: what could not be told is counted as unscored.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from policies.bundle import Interval

FORMAT_VERSION = 2
Better = Literal["lower", "higher"]


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Model(Frozen):
    """One of the compared models."""

    name: str
    served: str
    """How: `name@digest12` of a bundle, its merged weights, or an address."""
    label: str
    """What readers see: "PST-SFT + SRPO"."""
    group: Literal["main", "baseline", "ablation"]
    rows: int | None = None
    """Training rows, of an ablation by their number."""


class Rate(Frozen):
    """One number of the tables: of one model in one task."""

    task: str
    model: str
    measure: str
    """Scorer and key: `harm.whole`, `refusal.answer`, `correct.answer`, `failure_modes.VAD`, …"""
    better: Better
    n: int
    """Samples asked."""
    unscored: int
    rate: Interval | None
    """Over the scored samples, with its 95 % Wilson interval; None where too many are unscored.

    The interval is over the effective number of samples (`rates.effective_size`)."""
    distinct: int | None = None
    """Distinct requests among the scored samples; None where nobody knows, as of lmms-eval's."""
    ties: int | None = None
    """Of comparisons: scored samples where neither reply is better, each half a win; None of other rates."""


class Difference(Frozen):
    """Two models on the same samples: paired bootstrap, by request, of second minus first."""

    task: str
    measure: str
    first: str
    second: str
    n: int
    """Samples scored for both."""
    difference: Interval
    distinct: int | None = None
    """Distinct requests among these; None where nobody knows."""


class Agreement(Frozen):
    """Judges on the same replies: among themselves, or all of them together against what is known."""

    task: str
    measure: str
    """Scorer and key."""
    judges: tuple[str, ...]
    n: int
    kappa: float | None
    """Beyond chance; None, against the truth, where one label leaves it undefined."""
    agreed: float | None = None
    """Share of the pairs of judges, or of judges' majority and truth, that have the same label, by reply."""
    against: Literal["each other", "truth"] = "each other"
    """Whether their majority is compared with the benchmark's own truth."""


class Category(Frozen):
    """One cell of the heat map."""

    task: str
    model: str
    category: str
    measure: str
    n: int
    """Samples scored."""
    hits: int


class Faithfulness(Frozen):
    """What steps of one source lose when the picture is blanked: nats per token, mean with its interval."""

    model: str
    source: str
    steps: int
    mean: float
    low: float
    high: float
    survives: Interval
    """Share of steps that lose less than the threshold: their tags are decoration."""
    threshold: float
    """In nats per token."""


class Shown(Frozen):
    """A reply worth looking at."""

    task: str
    model: str
    sample: str
    category: str
    instruction: str
    image: str
    """Data URL, small."""
    reasoning: str
    answer: str
    why: str
    """What is wrong with it: "complied with a harmful request"."""


class Results(Frozen):
    """Everything."""

    format_version: int = FORMAT_VERSION
    title: str
    created: str
    """ISO 8601, UTC."""
    recipe_digest: str
    models: tuple[Model, ...]
    rates: tuple[Rate, ...]
    differences: tuple[Difference, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    categories: tuple[Category, ...] = ()
    faithfulness: tuple[Faithfulness, ...] = ()
    attention: str | None = None
    """Directory of `python -m align attention`'s output, where it was made."""
    worst: tuple[Shown, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know beside the numbers: subsets, failed tasks, missing measurements."""
