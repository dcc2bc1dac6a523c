"""python -m deploy.demo [--record]: what `make demo` runs; settings are in deploy/demo/plan.py.

Exit codes: 0 both replies are well formed, 1 one is not, 2 the demo cannot run here, 130 interrupted.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import openai
from groundrule import Groundrule, NotGroundruleError
from rich.console import Console
from rich.text import Text

from deploy.demo import snippets
from deploy.demo.base import ensure_lab_base
from deploy.demo.cases import Case, make_cases
from deploy.demo.conversation import ask
from deploy.demo.gateway import Gateway, running_gateway
from deploy.demo.plan import WORKPLACE, DemoFailed, Plan, make_plan
from deploy.demo.progress import Progress
from deploy.demo.record import WIDTH, write_output


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo as the environment says."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo")
    parser.add_argument(
        "--record", action="store_true", help="end after two replies; put them into README.md"
    )
    record = parser.parse_args(arguments).record
    console = Console(record=True, width=WIDTH) if record else Console()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        code = run(make_plan({**os.environ, **({"DEMO_ONCE": "1"} if record else {})}), console)
        if record and code == 0:
            write_output(console.export_text())
        return code
    except DemoFailed as error:
        Console(stderr=True).print(Text(f"groundrule: {error}"), soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130


def run(plan: Plan, console: Console, gateway_command: Sequence[str] = ()) -> int:
    """Bring everything up, ask both questions, stay until Ctrl-C unless told otherwise."""
    progress = Progress(console, Console(stderr=True))
    if plan.is_lab:
        ensure_lab_base(progress)
    cases = make_cases(WORKPLACE)
    with _run_directory() as directory, ExitStack() as stack:
        with progress.step("Starting engine and gateway") as step:
            gateway = stack.enter_context(running_gateway(plan, directory, gateway_command))
            gateway.wait_until_ready(step)
        code = _converse(console, plan, gateway, cases)
        if not plan.once:
            _print_snippets(console, plan, gateway, cases[0])
            _stay(console, gateway)
    return code


def _converse(console: Console, plan: Plan, gateway: Gateway, cases: Sequence[Case]) -> int:
    _reach_directly("127.0.0.1")
    try:
        with Groundrule(gateway.base_url) as client:
            outcomes = [ask(console, client, plan, case) for case in cases]
    except (openai.APIError, NotGroundruleError) as error:
        raise gateway.failure(f"the gateway gave no reply: {error}") from error
    return 1 if any(outcome.faults for outcome in outcomes) else 0


def _reach_directly(host: str) -> None:
    """Whatever proxy the environment names, `host` is this machine."""
    # Both are in use, and where both are set, clients differ in which one they read.
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"{given},{host}" if given else host


def _print_snippets(console: Console, plan: Plan, gateway: Gateway, case: Case) -> None:
    for title, write in (
        ("From a shell", snippets.curl),
        ("From Python", snippets.python),
        ("On the command line", snippets.command),
    ):
        console.print(Text(f"\n{title}", "bold"))
        # As it is: a snippet that was wrapped or coloured cannot be copied.
        console.out(write(gateway.base_url, plan.alias, case), highlight=False)


def _stay(console: Console, gateway: Gateway) -> None:
    try:
        console.print(Text(f"\nThe gateway stays up at {gateway.base_url}; Ctrl-C stops it.", "bold"))
        gateway.wait()
    except KeyboardInterrupt:
        console.print("\nStopping …")


@contextmanager
def _run_directory() -> Iterator[Path]:
    """Configuration and logs of this demo; kept when it fails, since the message names what is in them."""
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=WORKPLACE))
    try:
        yield directory
    except DemoFailed as error:
        raise DemoFailed(f"{error}\nThe logs are in {directory}") from error
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    shutil.rmtree(directory, ignore_errors=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that the gateway is stopped."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
