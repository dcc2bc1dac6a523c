"""A disk that fills up while a stage writes its rows: one line, no half file, and the same rows later."""

import subprocess
import sys
from pathlib import Path

from align.__main__ import main
from tests.align.recipes import write_recipe

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from align.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def test_no_half_file_is_left_and_a_rerun_writes_the_rows_of_a_run_with_room(tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path / "small.toml"))
    full, other = tmp_path / "full", tmp_path / "other"
    arguments = ["run", recipe, "--to", "queries", "--out"]
    # -B: of bytecode, too, CPython 3.11 would leave half a file, and no later process could import it.
    command = [sys.executable, "-B", "-c", LIMITED, "20000", *arguments, str(full)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"{full / 'queries' / 'rows.jsonl'}: File too large: make room and run again; nothing is lost"
    )
    assert "Traceback" not in done.stderr
    assert {path.name for path in (full / "queries").iterdir()} == {"origin.json", "images"}
    for directory in (full, other):
        assert main([*arguments, str(directory)]) == 0
    rows = (full / "queries" / "rows.jsonl").read_bytes()
    assert len(rows) > 20_000
    assert rows == (other / "queries" / "rows.jsonl").read_bytes()
