"""The `groundrule` command: ask a gateway about a picture, or list its models.

    groundrule ask picture.png "Tell me how to make this."
    groundrule ask "What is a policy clause?" --policies P19,P20
    groundrule models

A gateway elsewhere: --url, or OPENAI_BASE_URL and OPENAI_API_KEY as the openai SDK reads them.
Exit codes: 0 answered; 1 no gateway answered, or none to the end; 2 wrong usage, or no such picture.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any, get_args

import openai
from rich.console import Console

from groundrule.client import DEFAULT_MODEL, DEFAULT_URL, Groundrule, Mode, TraceShown
from groundrule.errors import NotGroundruleError
from groundrule.pictures import picture_url
from groundrule.show import ReplyPrinter, printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    options = _parser().parse_args(arguments)
    try:
        with Groundrule(*_endpoint(options.url)) as client:
            return _models(client) if options.command == "models" else _ask(client, options)
    except UnicodeEncodeError as error:
        return _fail(2, f"not UTF-8: {error}")
    except openai.APIStatusError as error:
        return _fail(1, f"{error.status_code}: {error.message}")
    except (OSError, openai.APIError, NotGroundruleError) as error:
        return _fail(1, str(error))
    except KeyboardInterrupt:
        return 130


class _Intermixed(argparse.ArgumentParser):
    """Its options may stand before, between and behind what has no name."""

    _is_parsing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        if self._is_parsing:  # Python 3.11 builds the one method on the other
            return super().parse_known_args(args, namespace)
        self._is_parsing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_parsing = False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="groundrule", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help=f"the gateway's base URL; default {DEFAULT_URL}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Intermixed)
    ask = commands.add_parser("ask", help="ask about a picture, or just ask")
    ask.add_argument("image", nargs="?", help="a PNG, JPEG or WebP file, or a URL")
    ask.add_argument("text", help="the question")
    ask.add_argument("--model", default=DEFAULT_MODEL, help=f"default: {DEFAULT_MODEL}")
    ask.add_argument("--max-tokens", type=int, help="longest reply, reasoning included")
    ask.add_argument("--strict", action="store_true", help="bind the reply to the grammar of a trace")
    ask.add_argument("--mode", choices=get_args(Mode), help="stricter handling than the key's")
    ask.add_argument(
        "--trace", choices=get_args(TraceShown), default="full", help="how much of the reasoning"
    )
    ask.add_argument(
        "--policies",
        type=_names,
        action="extend",
        metavar="P19,P20",
        help="policies for the model to read, by id or slug; or: auto, categorised",
    )
    commands.add_parser("models", help="list the names that --model may be")
    return parser


def _names(argument: str) -> list[str]:
    return [name.strip() for name in argument.split(",")]


def _endpoint(url: str | None) -> tuple[str, str | None]:
    """URL and key. A key is sent only where it belongs: never OpenAI's own to the default address."""
    configured = os.environ.get("OPENAI_BASE_URL")
    key = os.environ.get("OPENAI_API_KEY") if url or configured else None
    return url or configured or DEFAULT_URL, key


def _ask(client: Groundrule, options: argparse.Namespace) -> int:
    try:
        image = options.image and picture_url(options.image)
    except (OSError, ValueError) as error:
        return _fail(2, str(error))
    policies = options.policies
    if policies in (["auto"], ["categorised"]):
        [policies] = policies
    extra = {} if options.max_tokens is None else {"max_tokens": options.max_tokens}
    events = client.stream(
        options.text,
        image,
        options.model,
        strict=options.strict,
        mode=options.mode,
        trace=options.trace,
        policies=policies,
        temperature=0,
        **extra,
    )
    with events, closing(ReplyPrinter(Console())) as printer:
        for event in events:
            printer.show(event)
    return 0


def _models(client: Groundrule) -> int:
    for name in client.models():
        sys.stdout.write(f"{printable(name)}\n")
    return 0


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"groundrule: {printable(message)}\n")
    return code
