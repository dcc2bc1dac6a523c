"""`python -m align evaluate`: what a recipe compares, measured and told in results.json and one page.

Prints where the page is. The same command goes on where a killed one was, and writes a finished one's
results anew without asking.
"""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the command to those of `python -m align`."""
    parser: ArgumentParser = subparsers.add_parser(
        "evaluate", help="measure models on benchmarks: tables, differences, worst replies"
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: the recipe's out, or runs/ and its file's name"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="TASK", help="ask on these benchmarks alone")
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME", help="ask these models alone")
    parser.add_argument("--count", type=_positive, metavar="N", help="samples of each benchmark at most")
    parser.add_argument(
        "--render", action="store_true", help="write the page anew from results.json, without asking anything"
    )
    parser.set_defaults(command=run)


def run(arguments: Namespace) -> None:
    """Evaluate, or only write the page."""
    from align.evaluate.recipe import load_evaluation
    from align.evaluate.written import render

    recipe = load_evaluation(arguments.recipe)
    out: Path = arguments.out or recipe.out or Path("runs") / arguments.recipe.stem
    if arguments.render:
        page = render(out)
    else:
        from align.evaluate.run import evaluate  # imports the harness
        from align.evaluate.span import Span

        span = Span(tuple(arguments.only), tuple(arguments.models), arguments.count)
        page = evaluate(recipe, out, span)
    sys.stdout.write(f"{page}\n")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not 1 or more")
    return int(text)
