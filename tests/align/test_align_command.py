"""`python -m align`: what each command prints, and its exit status."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from align.__main__ import main
from align.graph import STAGES
from align.mini import trained
from align.stages.workspace import JOURNEY
from tests.align.recipes import write_recipe


def test_importing_the_command_loads_no_training_library() -> None:
    heavy = ("torch", "transformers", "trl")
    code = f"import sys, align.__main__; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_report_loads_nothing_that_asks_or_trains(tmp_path: Path) -> None:
    assert (
        main(["run", str(write_recipe(tmp_path / "small.toml")), "--to", "gates", "--out", str(tmp_path)])
        == 0
    )
    heavy = ("aiohttp", "ray", "torch", "openai", "align.run", "align.stages.asking")
    code = (
        "import sys; from align.__main__ import main; "
        f"done = main(['report', {str(tmp_path)!r}]); "
        f"sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or done)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"{tmp_path / 'report.html'}\n"


def test_stages_are_told_by_the_names_and_in_the_order_in_which_they_run() -> None:
    assert tuple(stage.name for stage in STAGES) == JOURNEY


def test_a_run_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_recipe(tmp_path / "small.toml")
    assert main(["run", str(path), "--to", "select", "--out", str(tmp_path / "run")]) == 0
    assert "select: 20 rows" in capsys.readouterr().err


def test_the_run_directory_has_the_recipes_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path / "night.toml")
    assert main(["run", "night.toml", "--to", "queries"]) == 0
    assert (tmp_path / "runs" / "night" / "queries" / "manifest.json").is_file()


def test_a_mistake_in_a_recipe_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_recipe(tmp_path / "small.toml", {"learning_rate": "learning_rat"})
    assert main(["run", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "unknown key 'sft.learning_rat'" in said


def test_a_stage_that_gives_up_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_recipe(tmp_path / "small.toml", {"max_chars = 2000": "max_chars = 10"})
    assert main(["run", str(path), "--to", "select", "--out", str(tmp_path / "run")]) == 1
    assert "more than gates.max_dropped_share = 0.9 allows" in capsys.readouterr().err


def test_a_base_that_is_no_model_is_named_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path / "small.toml", {'base = "mini"': 'base = "no/such/model"'})
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "no/such/model" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_scene_is_drawn_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "x.png"
    assert main(["mini", "scene", "--seed", "7", "--subject", "bomb", "--out", str(out)]) == 0
    with Image.open(out) as image:
        assert image.size == (112, 112)
    assert capsys.readouterr().out == "bomb\n"


def test_a_situation_is_drawn_with_its_instruction_and_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mini", "scene", "--seed", "train:0", "--out", str(tmp_path / "x.png")]) == 0
    assert capsys.readouterr().out == "What is in the picture? [comply]\n"


def test_a_subject_that_cannot_be_drawn_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mini", "scene", "--seed", "7", "--subject", "bom", "--out", str(tmp_path / "x.png")]) == 2
    assert "try bomb" in capsys.readouterr().err


def test_sources_are_listed_with_their_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sources"]) == 0
    assert "cc-by-nc-4.0" in capsys.readouterr().out


def test_a_base_without_trained_weights_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("align.stages.base_model.TOWER", tmp_path / trained.TOWER.name)
    assert main(["mini", "base", "--out", str(tmp_path / "base")]) == 2
    assert "tower.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_oracle_serves_until_it_is_told_to_stop(how: signal.Signals) -> None:
    command = [sys.executable, "-m", "align", "mini", "oracle", "--port", "0", "--count", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as oracle:
        assert oracle.stdout
        assert oracle.stdout.readline().startswith("oracle ready at http://127.0.0.1:")
        oracle.send_signal(how)
        assert oracle.wait(10) == 130
        assert oracle.stderr
        assert oracle.stderr.read().endswith("interrupted\n")


def test_a_taken_port_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["mini", "oracle", "--port", str(port), "--count", "1"]) == 2
    assert f"--port {port}" in capsys.readouterr().err
