"""How to call the running gateway from elsewhere: commands to copy, true to its port and its pictures."""

import os
import sys
from pathlib import Path

from deploy.demo.cases import Case
from deploy.demo.plan import ROOT


def curl(base_url: str, model: str, case: Case) -> str:
    """For a shell; base64 comes with every Linux."""
    picture = f"data:image/png;base64,$(base64 -w0 {_near(case.picture)})"
    return f"""\
curl -s {base_url}/chat/completions -H 'content-type: application/json' -d @- <<EOF
{{"model": "{model}", "temperature": 0, "messages": [{{"role": "user", "content": [
  {{"type": "image_url", "image_url": {{"url": "{picture}"}}}},
  {{"type": "text", "text": "{case.question}"}}]}}]}}
EOF"""


def python(base_url: str, model: str, case: Case) -> str:
    """For a Python program."""
    return f"""\
from groundrule import Groundrule

client = Groundrule("{base_url}")
reply = client.ask("{case.question}", image="{_near(case.picture)}", model="{model}", temperature=0)
print(reply.verdict, reply.answer, sep="\\n")"""


def command(base_url: str, model: str, case: Case) -> str:
    """For a terminal."""
    program = _near(Path(sys.executable).parent / "groundrule")
    return f'{program} --url {base_url} ask --model {model} {_near(case.picture)} "{case.question}"'


def _near(path: Path) -> str:
    """The path as seen from the repository's root, where `make` runs."""
    return os.path.relpath(path, ROOT)
