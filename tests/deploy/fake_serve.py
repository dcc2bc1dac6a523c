"""Stands in for `python -m serve` in the demo's tests: the real gateway, in front of a scripted engine.

    python tests/deploy/fake_serve.py --config <the demo's gateway.toml>

The engine's replies are those of the JSON list in the file named by FAKE_REPLIES; the last one is repeated.
"""

import json
import os
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from serve.__main__ import main
from tests.fakes.scripted_engine import Scripted, ScriptedEngine


def run(config: Path) -> int:
    settings = tomllib.loads(config.read_text())
    replies = json.loads(Path(os.environ["FAKE_REPLIES"]).read_text())
    with ScriptedEngine().running() as engine:
        engine.enqueue(*map(Scripted, replies))
        lines = [
            f"port = {settings['port']}",
            f"state_dir = {json.dumps(settings['state_dir'])}",
            f"[engine.remote]\nurl = {json.dumps(engine.url)}\npoll_interval_s = 0.05",
            *(f"[[adapters]]\nbundle = {json.dumps(a['bundle'])}" for a in settings.get("adapters", ())),
        ]
        changed = config.with_name("fake.toml")
        changed.write_text("\n".join(lines))
        return main(["--config", str(changed)])


if __name__ == "__main__":
    raise SystemExit(run(Path(sys.argv[sys.argv.index("--config") + 1])))
