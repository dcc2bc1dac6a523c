"""`python -m align`: run a recipe or say what it would cost, evaluate, list sources, measure attention,
run the lab.

Exit status: 0 done; 1 a stage gave up (too many rows dropped, training failed); 2 something that the
user can fix, said in one line; 130 interrupted, by Ctrl-C or SIGTERM. After 1 and 130 the same command
goes on.
"""

import asyncio
import difflib
import errno
import random
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from align.attention.command import add_parser as add_attention
from align.baselines.command import add_arguments as add_variants
from align.errors import RecipeError, StageAborted
from align.evaluate.command import add_parser as add_evaluate
from align.evaluate.faithful_command import add_parser as add_faithful
from align.evaluate.lmms_command import add_parser as add_ability
from align.manifest import StaleStage
from align.mini.trained import WEIGHTS
from align.recipe import load_recipe
from align.records import RecordError
from align.stages.workspace import JOURNEY
from policies.bundle import BundleError
from policies.document import CatalogError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
USER_CAN_FIX = (RecipeError, StaleStage, RecordError, BundleError, CatalogError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except USER_CAN_FIX as error:
        _say(str(error))
        return 2
    except StageAborted as error:
        _say(str(error))
        return 1
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _say(f"{error.filename or 'the disk'}: {error.strerror}: make room and run again; nothing is lost")
        return 2
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    return 0


def _run(arguments: Namespace) -> None:
    from align.graph import Span
    from align.run import dry_run, run  # imports all that asks, which a report does not need

    path: Path = arguments.recipe
    out: Path = arguments.out or Path("runs") / path.stem
    recipe, span = load_recipe(path), Span(arguments.first, arguments.last)
    if arguments.dry_run:
        from align.estimate_table import show_estimate

        show_estimate(dry_run(recipe, out, span), recipe)
    else:
        run(recipe, out, span, workers=arguments.workers)


def _report(arguments: Namespace) -> None:
    from align.report.page import write_report

    if not arguments.run.is_dir():
        raise RecipeError(f"{arguments.run} is no run directory: give the one that `run` wrote into")
    _print(str(write_report(arguments.run, arguments.out)))


def _sources(arguments: Namespace) -> None:
    from align.sources.listing import show_sources

    show_sources(as_json=arguments.json)


def _mini_audit(arguments: Namespace) -> None:
    from rich.console import Console

    from align.mini.audit import audit, tables

    console = Console(file=sys.stdout)
    for table in tables(audit(arguments.run)):
        console.print(table)


def _mini_base(arguments: Namespace) -> None:
    from align.stages.base_model import build_mini_base

    _say("base: assembling the language layers, the vision tower and the reasoner")
    built = build_mini_base(arguments.out)
    _say(f"base: {'written to' if built else 'already in'} {arguments.out}")


def _mini_train(arguments: Namespace) -> None:
    from align.mini.keep import check_writable
    from align.mini.recipe import load_lab_recipe

    recipe = load_lab_recipe(arguments.recipe) if arguments.recipe else load_lab_recipe()
    check_writable()
    from align.mini.train import train_lab  # imports torch

    train_lab(recipe, arguments.work, arguments.first)


def _mini_keep(arguments: Namespace) -> None:
    from align.mini.keep import keep

    for manifest in keep(arguments.run):
        _say(f"kept {manifest.served_name} of {arguments.run} in {WEIGHTS}")


def _mini_scene(arguments: Namespace) -> None:
    from align.mini.scenes import draw_scene, render
    from align.mini.things import THINGS
    from align.mini.world import draw_situation

    subject: str | None = arguments.subject
    if subject is None:
        situation = draw_situation(arguments.seed)
        scene, words = situation.scene, f"{situation.instruction} [{situation.truth.verdict}]"
    elif subject in THINGS:
        scene, words = draw_scene(random.Random(arguments.seed), subject), subject
    else:
        near = difflib.get_close_matches(subject, THINGS, n=3) or sorted(THINGS)
        raise RecipeError(f"--subject {subject!r} is nothing the lab can draw: try {', '.join(near)}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    render(scene).save(arguments.out)
    _print(words)


def _mini_oracle(arguments: Namespace) -> None:
    from align.mini.oracle import Oracle, serve_forever
    from align.mini.world import situations
    from align.stages.progress import track

    known = track(situations(arguments.split, arguments.count), "situations", arguments.count)
    oracle = Oracle(known)
    try:
        asyncio.run(serve_forever(oracle, arguments.port, lambda url: _print(f"oracle ready at {url}")))
    except OSError as error:
        raise RecipeError(f"--port {arguments.port} cannot be used: {error.strerror}") from None


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m align", description="From images and instructions to adapters.")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_run(commands.add_parser("run", help="make what a recipe says, stage by stage"))
    report = commands.add_parser("report", help="write a run's report anew and say where it is")
    report.add_argument("run", type=Path, metavar="RUN_DIRECTORY")
    report.add_argument("--out", type=Path, metavar="FILE", help="default: report.html in the run directory")
    report.set_defaults(command=_report)
    sources = commands.add_parser("sources", help="list where queries can come from, with licences")
    sources.add_argument("--json", action="store_true", help="for programs")
    sources.set_defaults(command=_sources)
    add_attention(commands)
    add_faithful(commands)
    add_ability(commands)
    add_evaluate(commands)
    lab = commands.add_parser("mini", help="the lab: base model, scenes, scripted teacher")
    tools = lab.add_subparsers(required=True, metavar="tool")
    _add_base(tools.add_parser("base", help="write the lab's base model as a checkpoint"))
    _add_train(tools.add_parser("train", help="train the lab's base model anew (two hours on two cores)"))
    _add_keep(tools.add_parser("keep", help="put a finished run's adapters into the repository"))
    add_variants(tools.add_parser("variants", help="train baselines and ablations from a finished run"))
    _add_scene(tools.add_parser("scene", help="draw a scene"))
    _add_audit(tools.add_parser("audit", help="count which planted defects a finished run caught"))
    _add_oracle(tools.add_parser("oracle", help="serve the scripted teacher"))
    return parser


def _add_run(parser: ArgumentParser) -> None:
    names = ", ".join(JOURNEY)
    parser.add_argument("recipe", type=Path)
    parser.add_argument(
        "--from",
        dest="first",
        metavar="STAGE",
        help=f"make this stage again even if it is complete: {names}",
    )
    parser.add_argument("--to", dest="last", metavar="STAGE", help="stop after this stage")
    parser.add_argument("--out", type=Path, help="run directory (default: runs/ and the recipe's file name)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be asked and spent, and stop")
    parser.add_argument(
        "--workers",
        type=_positive,
        default=1,
        metavar="N",
        help="processes that ask side by side, by Ray Data: on this machine, or the cluster of RAY_ADDRESS",
    )
    parser.set_defaults(command=_run)


def _add_base(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True)
    parser.set_defaults(command=_mini_base)


def _add_train(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, nargs="?", help="default: align/recipes/mini-base.toml")
    parser.add_argument("--from", dest="first", choices=("eyes", "reasoner"), default="eyes")
    parser.add_argument("--work", type=Path, default=Path("runs/mini-base"))
    parser.set_defaults(command=_mini_train)


def _add_keep(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_DIRECTORY")
    parser.set_defaults(command=_mini_keep)


def _add_scene(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", required=True, help="any text; test:7 is the test split's eighth situation")
    parser.add_argument("--subject", help="the largest thing in the picture; without it, a whole situation")
    parser.add_argument("--out", type=Path, required=True)
    parser.set_defaults(command=_mini_scene)


def _add_audit(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_DIRECTORY")
    parser.set_defaults(command=_mini_audit)


def _add_oracle(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--split", default="train")
    parser.add_argument("--count", type=int, default=1000, help="how many situations of the split it knows")
    parser.set_defaults(command=_mini_oracle)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    # Docker, Kubernetes and batch systems stop with SIGTERM. By default it loses calls that are under way and
    # paid for, and process 1 of a container does not hear it at all.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    raise SystemExit(main())
