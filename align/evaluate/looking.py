"""Attention inside an evaluation: the instrument on base model and bundles, when nothing is served any more.

A measurement lies under a digest of all that decides it, and what is there is not measured again. Knows
nothing of benchmarks: the questions are the lab's.
"""

import os
import shutil
from pathlib import Path

from align.attention.whose import BASE, OWN
from align.errors import RecipeError
from align.evaluate.engines import Engines
from align.evaluate.recipe import MINI, Attention, Evaluation
from align.evaluate.report.looked import looked
from align.recipe import digest_of
from align.train.bases import kind_of
from align.train.errors import TrainingFailed
from policies.formats import FORMATS

SPLIT = "test"
"""Of the lab's situations."""


def check_looking(recipe: Evaluation) -> None:
    """RecipeError, before any work, where nothing could be shown."""
    wanted, base = recipe.attention, recipe.base
    if wanted is None:
        return
    if wanted.directory is not None:
        looked(wanted.directory)
    elif base is not None and base != MINI:
        try:
            kind_of(Path(base))
        except TrainingFailed as error:
            raise RecipeError(f"[attention] base = {base!r}: {error}") from None


def place_of(recipe: Evaluation, engines: Engines, out: Path) -> Path | None:
    """Where the wanted measurement is once it is finished; None where none is wanted."""
    wanted = recipe.attention
    if wanted is None:
        return None
    if wanted.directory is not None:
        return wanted.directory
    models = {one.name: engines.weights(one) for one in recipe.local(wanted.models)}
    settings = {
        "text": wanted.text,
        "count": wanted.count,
        "split": SPLIT,
        "max_tokens": recipe.pace.max_tokens,
    }
    return out / "attention" / digest_of(settings | {"models": models})[:12]


def look(recipe: Evaluation, engines: Engines, place: Path) -> None:
    """Measure, if that is not done; `place` appears whole. RecipeError where a model cannot be measured."""
    wanted = recipe.attention
    if wanted is None or place.exists():
        return
    from align.attention.figures import draw
    from align.attention.instrument import Instrument  # imports torch
    from align.attention.models import Models
    from align.attention.questions import lab_questions
    from align.attention.sinks import TAU
    from align.attention.written import write

    base = engines.base_directory()
    adapters = {one.name: one.bundle for one in recipe.local(wanted.models) if one.bundle}
    form = FORMATS[kind_of(base).reasoning_format]
    questions = lab_questions(SPLIT, wanted.count)
    instrument = Instrument(Models(base, adapters), questions, form, recipe.pace.max_tokens)
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    measurement = instrument.measurement(_writer(recipe, wanted), TAU, partial)
    write(measurement, partial)
    draw(measurement, partial)
    os.replace(partial, place)


def _writer(recipe: Evaluation, wanted: Attention) -> str:
    """As the instrument calls it, which knows the base model by one name."""
    bundles = [one.name for one in recipe.local() if one.bundle]
    return wanted.text if wanted.text in (OWN, *bundles) else BASE
