"""What a variant is trained on: rows and pairs of the run, chosen and written as its entry says."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from align.baselines.parent import Parent
from align.baselines.variants import Variant
from align.errors import RecipeError
from align.records import Pair, Row, SftRow, encoded
from align.stages.progress import track
from align.stages.select import choose, sft_row


@dataclass(frozen=True, slots=True)
class Data:
    """Both stages' data."""

    rows: tuple[SftRow, ...]
    pairs: tuple[Pair, ...]
    """None where stage 1 is all."""


def data_of(variant: Variant, parent: Parent) -> Data:
    """The variant's data; RecipeError where the run has too little for it."""
    return Data(tuple(_rows(variant, parent)), tuple(_pairs(variant, parent)))


def digest_of_rows(rows: Iterable[Row]) -> str:
    """SHA-256 of the file that these rows are written as."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(encoded(row))
    return digest.hexdigest()


def _rows(variant: Variant, parent: Parent) -> list[SftRow]:
    rows = _chosen(variant, parent) if variant.own_rows else parent.selected
    shown = track(rows, f"{variant.name}: replies", len(rows)) if variant.reply else rows
    return [row.model_copy(update={"completion": _completion(row, variant, parent)}) for row in shown]


def _chosen(variant: Variant, parent: Parent) -> list[SftRow]:
    own = {"count": variant.count, "benign_share": variant.benign_share}
    wanted = parent.recipe.select.model_copy(update={key: v for key, v in own.items() if v is not None})
    count, share = wanted.count, wanted.benign_share
    chosen = choose(parent.candidates, wanted, lot=f"{parent.recipe.seed}")  # as the run's own
    benign = sum(row.benign for row in chosen)
    if (len(chosen), benign) != (count, round(count * share)):
        raise RecipeError(
            f"{variant.name}: {count} rows are needed, {round(count * share)} of them benign, and with full "
            f"marks there are {len(chosen)}, {benign} of them benign: begin the run with more queries"
        )
    return [sft_row(row) for row in chosen]


def _completion(row: SftRow, variant: Variant, parent: Parent) -> str:
    completion = row.completion
    if variant.reply:
        completion = variant.reply(parent.situation(row.id), parent.workspace.catalog)
    return variant.less(completion) if variant.less else completion


def _pairs(variant: Variant, parent: Parent) -> list[Pair]:
    found = [pair for pair in parent.pairs if pair.kind in variant.kinds]
    if variant.kinds and not found:
        raise RecipeError(
            f"{variant.name}: the run has no pairs that are {' or '.join(sorted(variant.kinds))}"
        )
    if less := variant.less:
        found = [
            pair.model_copy(update={"chosen": less(pair.chosen), "rejected": less(pair.rejected)})
            for pair in found
        ]
    return [pair for pair in found if pair.chosen != pair.rejected]  # what made the difference may be gone
