"""`python -m align mini variants`: train the lab's baselines and ablations from a finished run, one by one.

Every variant is planned before the first is trained, so what the run lacks is told at once. What is done is
skipped, what was killed goes on; several commands may share the variants out with --only.
"""

import difflib
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from align.errors import RecipeError

if TYPE_CHECKING:
    from align.baselines.variants import Variant

DEFAULT_RECIPE = Path("recipes/mini.toml")
WIDEST = 200
"""Columns of the table where no terminal sets a limit."""


def add_arguments(parser: ArgumentParser) -> None:
    """The command's arguments; nothing that asks or trains is imported for them."""
    parser.add_argument("--run", type=Path, required=True, metavar="RUN_DIRECTORY", help="a finished lab run")
    parser.add_argument(
        "--recipe", type=Path, default=DEFAULT_RECIPE, help=f"the run's own (default: {DEFAULT_RECIPE})"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these variants, in this order")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--list", action="store_true", help="only say what each is and which are done")
    parser.set_defaults(command=run)


def run(arguments: Namespace) -> None:
    """Train what is not done yet, then say what there is; RecipeError before any training."""
    chosen = named(arguments.only)
    if not arguments.list:
        train(chosen, arguments.run, arguments.recipe, arguments.out)
    from rich.console import Console

    from align.baselines.listed import table

    width = None if sys.stdout.isatty() else WIDEST
    console = Console(file=sys.stdout, width=width, markup=False, highlight=False)
    console.print(table(chosen, arguments.out))


def named(names: Sequence[str] | None) -> list["Variant"]:
    """These variants, in this order; all where none is named. RecipeError for a name that is none."""
    from align.baselines.variants import VARIANTS

    known = {variant.name: variant for variant in VARIANTS}
    for name in names or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or list(known)
            raise RecipeError(f"--only {name!r} is no variant: try {', '.join(near)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def train(variants: Sequence["Variant"], directory: Path, recipe: Path, out: Path) -> None:
    """Bring the variants of a run up, in order; what went before stays done where one fails."""
    from align.baselines.listed import write_models
    from align.baselines.make import make
    from align.baselines.parent import open_parent  # which imports all that asks
    from align.baselines.plan import plan
    from align.recipe import load_recipe

    parent = open_parent(directory, load_recipe(recipe))
    plans = [plan(variant, parent, out / variant.name) for variant in variants]
    pace = 1.0  # of this machine now, as against the time that the run took
    for number, planned in enumerate(plans):
        expected = [later.expected_seconds for later in plans[number:]]
        eta = _duration(pace * sum(expected))
        _say(f"{number + 1} of {len(plans)}, {planned.variant.name}: {planned.told}; in all {eta} left")
        fresh, start = not planned.begun, time.monotonic()
        make(planned)
        if fresh and expected[0]:
            pace = (time.monotonic() - start) / expected[0]
        _say(f"{planned.variant.name} is done, and in {write_models(out)}")


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"about {hours} h {minutes:02} min" if hours else f"about {minutes} min"


def _say(text: str) -> None:
    sys.stderr.write(f"variants: {text}\n")
