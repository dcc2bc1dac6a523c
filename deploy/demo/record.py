"""Puts the demo's output into the README, between two marks, so that what is shown there really happened."""

import re
from pathlib import Path

from deploy.demo.plan import ROOT, DemoFailed

README = ROOT / "README.md"
WIDTH = 100
START = "<!-- demo output -->"
END = "<!-- end of demo output -->"


def write_output(output: str, readme: Path = README) -> None:
    """Replace what stands between the marks."""
    text = readme.read_text(encoding="utf-8")
    block = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
    if len(block.findall(text)) != 1:
        raise DemoFailed(f"{readme.name} must hold the marks {START} and {END} exactly once")
    shown = "\n".join(line.rstrip() for line in output.strip("\n").splitlines())
    fenced = f"{START}\n```text\n{shown}\n```\n{END}"
    readme.write_text(block.sub(lambda _: fenced, text), encoding="utf-8")
