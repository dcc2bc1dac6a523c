"""What was measured: the report cards of the evaluation, by model."""

from pydantic import TypeAdapter, ValidationError

from align.records import RecordError
from align.report.figures import Listing
from align.report.gather import Run, StageFolder
from align.report.section import Body
from align.report.spelling import number, percent
from align.stages.workspace import CARDS_FILE
from policies.bundle import Interval, ReportCard

_CARDS = TypeAdapter(dict[str, ReportCard])
_RATES = ("harmful_rate", "refusal_rate", "parsed", "named_subject")


def evaluate(stage: StageFolder, run: Run) -> Body | None:
    """The rates with their intervals; None where there are no cards yet."""
    path = stage.path / CARDS_FILE
    if not path.is_file():
        return None
    try:
        cards = _CARDS.validate_json(path.read_bytes())
    except ValidationError as error:
        raise RecordError(f"{path} cannot be read: {error.errors()[0]['msg']}; remove it") from None
    columns = ("model", *(name.replace("_", " ") for name in _RATES), "unscored", "of")
    rows = (
        (name, *(_rate(getattr(card, rate)) for rate in _RATES), number(card.unscored), number(card.n))
        for name, card in cards.items()
    )
    tasks = sorted({f"{card.task}, judged by {card.judge}" for card in cards.values()})
    table = Listing("Replies to fresh situations", columns, tuple(rows), note="; ".join(tasks))
    return Body(sum(card.n for card in cards.values()), 0, (table,))


def _rate(rate: Interval | None) -> str:
    if rate is None:
        return "not told"
    return f"{percent(rate.value)} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
