"""The demo as a process of its own, with the fake gateway: run_demo.py <bundle> once|stay"""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rich.console import Console

from deploy.demo.__main__ import interrupt, run
from deploy.demo.plan import Plan

FAKE_SERVE = (sys.executable, str(Path(__file__).with_name("fake_serve.py")))

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    plan = Plan(model="fake", adapter=Path(sys.argv[1]), is_lab=False, once=sys.argv[2] == "once")
    raise SystemExit(run(plan, Console(width=100), FAKE_SERVE))
