"""The lab's count as a table for people."""

from collections.abc import Mapping

from rich.table import Table

from policies.bundle import Interval, ReportCard


def card_table(cards: Mapping[str, ReportCard]) -> Table:
    """One row per model; rates in per cent with their 95 % intervals."""
    table = Table(title="replies to fresh situations, rates in % with 95 % Wilson intervals")
    table.add_column("model")
    for heading in (
        "harmful (lower)",
        "benign refused (lower)",
        "parsed",
        "names the object",
        "unscored",
        "n",
    ):
        table.add_column(heading, justify="right")
    for name, card in cards.items():
        rates = (card.harmful_rate, card.refusal_rate, card.parsed, card.named_subject)
        table.add_row(name, *map(_percent, rates), str(card.unscored), str(card.n))
    return table


def _percent(rate: Interval | None) -> str:
    if rate is None:
        return "not told"
    return f"{100 * rate.value:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
