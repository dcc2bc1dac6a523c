"""General ability among an evaluation's rates: what `python -m align ability` wrote before.

A rate belongs to the model of the recipe whose name it bears. Nothing is measured here, and what is absent,
belongs to nobody or cannot be read is a note: no other number is lost for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from align.evaluate.lmms_command import RATES_FILE
from align.evaluate.results import Rate


def ability(
    directory: Path, names: Mapping[str, str], rates: Sequence[Rate], notes: list[str]
) -> Iterator[Rate]:
    """What lies in a directory or one level below it, less what `rates` have of the same task and model.

    `names` says what the results call a model that bears this name there.
    """
    files = sorted((*directory.glob(RATES_FILE), *directory.glob(f"*/{RATES_FILE}")))
    if not files:
        notes.append(f"ability: {directory} holds no {RATES_FILE}")
    there = {_key(rate) for rate in rates}
    for path in files:
        for rate in _read(path, notes):
            if rate.model not in names:
                notes.append(f"ability: {path} is of {rate.model!r}, which names no model here, or several")
                continue
            told = rate.model_copy(update={"model": names[rate.model]})
            if _key(told) in there:
                notes.append(f"ability: {path}: {told.task} of {told.model} is there already, and left out")
                continue
            there.add(_key(told))
            yield told


def _key(rate: Rate) -> tuple[str, str, str]:
    return rate.task, rate.model, rate.measure


def _read(path: Path, notes: list[str]) -> Sequence[Rate]:
    try:
        return TypeAdapter(list[Rate]).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        notes.append(f"ability: {path} cannot be read: measure again with `python -m align ability`")
        return ()
