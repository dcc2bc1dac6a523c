"""`python -m align faithful`: whether a model's visual steps need the picture.

Reads the replies, has `faithful` measure them, and prints a table. Nothing here knows how.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from align.errors import RecipeError
from policies.formats import FORMATS, THINK


def add_parser(subparsers: Any) -> None:
    """Add the command to those of `python -m align`."""
    parser: ArgumentParser = subparsers.add_parser(
        "faithful", help="measure whether a model's visual steps need the picture"
    )
    parser.add_argument(
        "--base-url", required=True, metavar="URL", help="vLLM's, such as http://host:8000/v1"
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="as the engine calls it")
    parser.add_argument(
        "--replies",
        type=Path,
        required=True,
        metavar="FILE",
        help="the model's own: .jsonl, or Inspect's log",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--format",
        choices=sorted(FORMATS),
        default=THINK.name,
        help=f"of the replies (default: {THINK.name})",
    )
    parser.add_argument(
        "--threshold", type=float, default=0.1, help="nats per token; below it a step survives (default: 0.1)"
    )
    parser.add_argument(
        "--concurrency", type=int, default=4, metavar="N", help="replies at once (default: 4)"
    )
    parser.add_argument("--api-key-env", metavar="NAME", help="variable that holds the engine's key, if any")
    parser.set_defaults(command=run)


def run(arguments: Namespace) -> None:
    """Read the replies, then measure."""
    from align.evaluate.endpoint import Endpoint, identified, key_in
    from align.evaluate.faithful import How, measure
    from align.evaluate.replies_said import replies_of

    if arguments.concurrency < 1:
        raise RecipeError("--concurrency must be 1 or more")
    form = FORMATS[arguments.format]
    replies = replies_of(arguments.replies, form)
    engine = Endpoint(arguments.base_url, arguments.model, key_in(arguments.api_key_env, "--api-key-env"))
    how = How(form, threshold=arguments.threshold, concurrency=arguments.concurrency)
    measure(identified(engine, "--base-url"), replies, how, arguments.out)
    _show(arguments.out)


def _show(out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from align.evaluate.blanked_steps import Summary
    from align.evaluate.faithful import SUMMARY_FILE

    told = Summary.model_validate_json((out / SUMMARY_FILE).read_bytes())
    table = Table("source", "steps", "gap, nats per token", f"survive (below {told.threshold:g})")
    for one in told.sources:
        gap = f"{one.gap.value:.3f} [{one.gap.low:.3f}, {one.gap.high:.3f}]" if one.gap else "one reply only"
        survive = f"{one.survives.value:.1%} [{one.survives.low:.1%}, {one.survives.high:.1%}]"
        table.add_row(one.source, str(one.steps), gap, survive)
    console = Console(file=sys.stdout)
    console.print(f"{told.model}: {told.replies} replies, {sum(told.unscored.values())} unscored")
    console.print(table)
    console.print(f"written to {out}", highlight=False)
