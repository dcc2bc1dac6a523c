"""`python -m align ability`: a model's general ability, by lmms-eval.

Writes ability.json and prints a table. Nothing here knows how anything is measured.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align.errors import RecipeError
from align.evaluate.endpoint import Endpoint, identified, key_in
from align.evaluate.lmms import ABILITIES, Asking, make_environment, measure
from align.evaluate.results import Rate
from policies.formats import FORMATS, THINK

RATES_FILE = "ability.json"


def add_parser(subparsers: Any) -> None:
    """Add the command to those of `python -m align`."""
    parser: ArgumentParser = subparsers.add_parser(
        "ability", help="measure general ability: VQAv2, GQA, ScienceQA, MathVista, by lmms-eval"
    )
    parser.add_argument(
        "--make-environment", action="store_true", help="install lmms-eval apart from this program, and stop"
    )
    parser.add_argument("--base-url", metavar="URL", help="of the model, such as http://host:8000/v1")
    parser.add_argument("--model", metavar="NAME", help="as that server calls it")
    parser.add_argument("--api-key-env", metavar="NAME", help="variable that holds its key, if it wants one")
    parser.add_argument("--out", type=Path, metavar="DIR")
    parser.add_argument(
        "--benchmark", action="append", choices=tuple(ABILITIES), help="may be repeated (default: all)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N samples of each (default: all)")
    parser.add_argument("--max-tokens", type=int, default=4096, help="of a reply (default: 4096)")
    parser.add_argument(
        "--concurrency", type=int, default=8, metavar="N", help="requests at once (default: 8)"
    )
    parser.add_argument(
        "--format",
        choices=sorted(FORMATS),
        default=THINK.name,
        help=f"of the replies (default: {THINK.name})",
    )
    parser.add_argument("--judge-base-url", metavar="URL", help="who reads MathVista's answers")
    parser.add_argument("--judge-model", metavar="NAME")
    parser.add_argument("--judge-key-env", metavar="NAME")
    parser.set_defaults(command=run)


def run(arguments: Namespace) -> None:
    """Install or measure."""
    if arguments.make_environment:
        make_environment()
        return
    missing = [flag for flag in ("base_url", "model", "out") if not getattr(arguments, flag)]
    if missing:
        raise RecipeError(f"--{missing[0].replace('_', '-')} is missing: say whom to measure, and where to")
    endpoint = Endpoint(arguments.base_url, arguments.model, key_in(arguments.api_key_env, "--api-key-env"))
    asking = Asking(
        FORMATS[arguments.format],
        limit=arguments.limit,
        max_tokens=arguments.max_tokens,
        concurrency=arguments.concurrency,
        judge=_judge(arguments),
    )
    abilities = [ABILITIES[name] for name in arguments.benchmark or ABILITIES]
    endpoint = identified(endpoint, "--base-url")
    (arguments.out / RATES_FILE).unlink(missing_ok=True)  # an earlier one says nothing of this call
    rates = measure(endpoint, abilities, asking, arguments.out)
    _write(rates, arguments.out)


def _judge(arguments: Namespace) -> Endpoint | None:
    url, model = arguments.judge_base_url, arguments.judge_model
    if (url is None) != (model is None):
        raise RecipeError("--judge-base-url and --judge-model go together")
    return Endpoint(url, model, key_in(arguments.judge_key_env, "--judge-key-env")) if url else None


def _write(rates: Sequence[Rate], out: Path) -> None:
    from pydantic import TypeAdapter
    from rich.console import Console
    from rich.table import Table

    (out / RATES_FILE).write_bytes(TypeAdapter(list[Rate]).dump_json(list(rates), indent=2) + b"\n")
    table = Table("benchmark", "asked", "unscored", "right")
    for one in rates:
        right = f"{one.rate.value:.1%} [{one.rate.low:.1%}, {one.rate.high:.1%}]" if one.rate else "unscored"
        table.add_row(one.task, str(one.n), str(one.unscored), right)
    console = Console(file=sys.stdout)
    console.print(table)
    console.print(f"written to {out}", highlight=False)
