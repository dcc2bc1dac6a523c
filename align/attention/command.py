"""`python -m align attention`: how much a model looks at the picture while it thinks and answers.

Writes attention.json, attention.csv, the replies and two figures, and prints a table. Nothing here knows
how anything is measured.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from align.attention.whose import GIVEN, OWN, RESERVED
from align.errors import RecipeError
from align.train.bases import kind_of
from align.train.errors import TrainingFailed
from policies.bundle import check_name
from policies.formats import FORMATS, ReasoningFormat


def add_parser(subparsers: Any) -> None:
    """Add the command to those of `python -m align`."""
    parser: ArgumentParser = subparsers.add_parser(
        "attention", help="measure how much models look at the picture while they reply"
    )
    parser.add_argument("--base", type=Path, required=True, metavar="DIR", help="the base model's checkpoint")
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="NAME=DIR", help="an adapter on it; may be repeated"
    )
    parser.add_argument(
        "--rows", type=Path, metavar="FILE", help="questions from a run's rows, not the lab's"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="what the rows' image paths start from")
    parser.add_argument("--split", default="test", help="of the lab's situations (default: test)")
    parser.add_argument("--count", type=int, default=60, metavar="N", help="questions, at most (default: 60)")
    parser.add_argument(
        "--text",
        default=OWN,
        metavar="WHOSE",
        help="measure each model over its `own` replies (default), all over the `given` ones of --rows, "
        "or all over those of one model: base, or an adapter's NAME",
    )
    parser.add_argument("--max-tokens", type=int, default=1024, help="of a reply (default: 1024)")
    parser.add_argument(
        "--format", choices=sorted(FORMATS), help="how replies are cut (default: as the base's family writes)"
    )
    parser.add_argument(
        "--tau", type=float, default=20.0, help="threshold of a sink (default: 20, VisAttnSink)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.set_defaults(command=run)


def run(arguments: Namespace) -> None:
    """Check what was asked for before anything is loaded, then measure."""
    adapters = _adapters(arguments.adapter)
    _check(arguments, adapters)
    form = _format(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    from align.attention.figures import draw
    from align.attention.instrument import Instrument  # imports torch
    from align.attention.models import Models
    from align.attention.table import tables
    from align.attention.written import write

    questions = _questions(arguments)
    models = Models(arguments.base, adapters)
    instrument = Instrument(models, questions, form, arguments.max_tokens)
    measurement = instrument.measurement(arguments.text, arguments.tau, arguments.out)
    write(measurement, arguments.out)
    draw(measurement, arguments.out)
    _show(tables(measurement), arguments.out)


def _check(arguments: Namespace, adapters: dict[str, Path]) -> None:
    if arguments.text not in (*RESERVED, *adapters):
        known = ", ".join((*RESERVED, *adapters))
        raise RecipeError(f"--text {arguments.text!r} is nobody here: one of {known}")
    if arguments.text == GIVEN and not arguments.rows:
        raise RecipeError("--text given needs --rows FILE: the lab's situations come without replies")
    for name in ("count", "max_tokens"):
        if getattr(arguments, name) < 1:
            raise RecipeError(f"--{name.replace('_', '-')} must be 1 or more")


def _format(arguments: Namespace) -> ReasoningFormat:
    try:
        family = kind_of(arguments.base)
    except TrainingFailed as error:
        raise RecipeError(f"--base {error}") from None
    return FORMATS[arguments.format or family.reasoning_format]


def _adapters(given: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for one in given:
        name, equals, directory = one.partition("=")
        if not (name and equals and directory):
            raise RecipeError(f"--adapter {one!r}: write NAME=DIR, such as PST=runs/mini/bundle")
        if name in found or name in RESERVED:
            raise RecipeError(f"--adapter {one!r}: the name {name!r} is taken, choose another")
        check_name(name)
        found[name] = Path(directory)
    return found


def _questions(arguments: Namespace) -> list[Any]:
    from align.attention.questions import lab_questions, row_questions

    if not arguments.rows:
        return list(lab_questions(arguments.split, arguments.count))
    images = arguments.images or arguments.rows.parent
    questions = row_questions(arguments.rows, images, arguments.count)
    if not questions:
        raise RecipeError(f"{arguments.rows} holds no rows: there is nothing to measure on")
    return list(questions)


def _show(tables: Any, out: Path) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout)
    for table in tables:
        console.print(table)
    console.print(f"written to {out}", highlight=False)
