"""Claims about general ability: how lmms-eval is called, and what is made of the files that it leaves.

A script stands where its environment's Python would be; its files have the form that 0.7.3 was seen to write.
"""

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from align.errors import RecipeError, StageAborted
from align.evaluate.endpoint import Endpoint, identified
from align.evaluate.lmms import ABILITIES, LOG_FILE, Asking, make_environment, measure
from align.evaluate.lmms_command import add_parser
from align.evaluate.results import Rate
from policies.formats import FORMATS, THINK
from tests.align.scripted_vllm import ScriptedVllm

MODEL = Endpoint("http://127.0.0.1:8000/v1", "pst@fc7db1a726d1")
JUDGE = Endpoint("https://judge.example/v1", "reader", "the-judge's-key")
LMMS = f"""#!{sys.executable}
import json, os, pathlib, sys
given = json.loads(pathlib.Path(os.environ["SCRIPT"]).read_text())
argv = sys.argv[1:]
options = dict(zip(argv[3:-1:2], argv[4:-1:2]))
said = pathlib.Path(os.environ["SCRIPT"]).with_name("called.jsonl")
with said.open("a") as file:
    file.write(json.dumps({{"argv": argv, "environment": dict(os.environ), "cwd": os.getcwd()}}) + "\\n")
print("Model Responding: 100%")
if given["status"]:
    sys.exit("datasets.exceptions.DatasetNotFoundError: log in first")
task, model = options["--tasks"], options["--model_args"].split(",")[0].removeprefix("model=")
folder = pathlib.Path(options["--output_path"]) / model
folder.mkdir(parents=True, exist_ok=True)
counts = {{task: {{"original": 9, "effective": given["n"]}}}}
results = {{"results": {{task: {{"exact_match,none": 0.9}}}}, "n-samples": counts}}
(folder / "20261122_023616_results.json").write_text(json.dumps(results))
lines = "".join(json.dumps(sample) + "\\n" for sample in given["samples"])
(folder / f"20261122_023616_samples_{{task}}.jsonl").write_text(lines)
"""


class Script:
    """What lmms-eval is to leave, and how it was called."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def leaves(self, samples: Sequence[dict[str, Any]], n: int | None = None, status: int = 0) -> None:
        told = {"samples": samples, "n": len(samples) if n is None else n, "status": status}
        (self._directory / "script.json").write_text(json.dumps(told))

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self._directory / "called.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def lmms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    python = tmp_path / ".cache" / "venv-lmms" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(LMMS)
    python.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRIPT", str(tmp_path / "script.json"))
    return Script(tmp_path)


def sample(number: int, right: float, answer: str = "yes", **more: Any) -> dict[str, Any]:
    return {
        "doc_id": number,
        "target": "yes",
        "resps": f"<think>\n[visual] A dog.\n</think>\n{answer}",
        "filtered_resps": answer,
        "token_counts": [{"input_tokens": 38, "output_tokens": 9, "reasoning_tokens": 0}],
        "doc_hash": "74234e98afe7498f",
        "exact_match": right,
        "input": "Is it a dog?",
    } | more


def read(extraction: str, right: bool, number: int = 0) -> dict[str, Any]:
    told = {"question_id": "1", "extraction": extraction, "prediction": "4", "true_false": right}
    return sample(number, 0.0, "It is 4.") | {"llm_as_judge_eval": told}


def measured(name: str, out: Path, form: str = "think", **asking: Any) -> Rate:
    (rate,) = measure(MODEL, [ABILITIES[name]], Asking(FORMATS[form], **asking), out, "PST")
    return rate


def test_the_rate_is_over_the_samples_with_its_interval(lmms: Script, tmp_path: Path) -> None:
    lmms.leaves([sample(n, float(n < 5)) for n in range(10)])
    rate = measured("gqa", tmp_path / "out")
    assert (rate.task, rate.model, rate.measure, rate.better) == ("gqa", "PST", "correct.answer", "higher")
    assert (rate.n, rate.unscored) == (10, 0)
    assert rate.rate
    assert (rate.rate.value, round(rate.rate.low, 4), round(rate.rate.high, 4)) == (0.5, 0.2366, 0.7634)


def test_parts_of_a_right_answer_count_as_parts(lmms: Script, tmp_path: Path) -> None:
    lmms.leaves([sample(n, (0.0, 0.3, 0.6, 0.9)[n % 4]) for n in range(400)])
    rate = measured("vqav2", tmp_path / "out").rate
    assert rate
    # Standard deviation 0.3354, so 1.96 * 0.3354 / 20.
    assert (rate.value, rate.high - rate.value) == (pytest.approx(0.45), pytest.approx(0.03287, abs=1e-4))


@pytest.mark.parametrize(
    "answer",
    [
        "[LMMS_EVAL_REQUEST_FAILED after 5 retries] Connection error.",
        'Error: can only concatenate str (not "NoneType") to str',
        "",
        "<think>\nI look and look and",
        "<answer>yes</answer>",
    ],
)
def test_what_is_no_answer_is_unscored_and_not_wrong(answer: str, lmms: Script, tmp_path: Path) -> None:
    lmms.leaves([sample(0, 0.0, answer), *(sample(n, 1.0) for n in range(1, 10))])
    rate = measured("scienceqa", tmp_path / "out")
    assert (rate.n, rate.unscored) == (10, 1)
    assert rate.rate
    assert rate.rate.value == 1.0


def test_too_many_unscored_samples_give_no_rate(lmms: Script, tmp_path: Path) -> None:
    lmms.leaves([sample(0, 0.0, ""), sample(1, 0.0, ""), *(sample(n, 1.0) for n in range(2, 10))])
    rate = measured("gqa", tmp_path / "out")
    assert (rate.n, rate.unscored, rate.rate) == (10, 2, None)


def test_an_answer_that_the_judge_did_not_read_is_unscored(lmms: Script, tmp_path: Path) -> None:
    lmms.leaves([read("", True), *(read("4", n % 2 == 0, n) for n in range(1, 13))])
    rate = measured("mathvista", tmp_path / "out", judge=JUDGE)
    assert (rate.n, rate.unscored) == (13, 1)
    assert rate.rate
    assert rate.rate.value == 0.5


def test_reasoning_models_get_room_to_think_and_their_reasoning_is_taken_out(
    lmms: Script, tmp_path: Path
) -> None:
    lmms.leaves([sample(0, 1.0)])
    measured("vqav2", tmp_path / "out", limit=500, max_tokens=2048, concurrency=3)
    (call,) = lmms.calls
    assert call["argv"] == [
        *("-m", "lmms_eval", "eval", "--model", "async_openai"),
        "--model_args",
        "model=pst@fc7db1a726d1,base_url=http://127.0.0.1:8000/v1,num_cpus=3,timeout=600,max_retries=5,api_key=none",
        *("--tasks", "vqav2_val", "--gen_kwargs", "max_new_tokens=2048,temperature=0"),
        *("--reasoning_tags", '[["<think>", "</think>"]]', "--batch_size", "1"),
        *("--output_path", str(tmp_path / "out" / "vqav2"), "--limit", "500", "--log_samples"),
    ]
    assert call["cwd"] == str(tmp_path / "out" / "vqav2")


def test_every_section_of_a_format_is_reasoning(lmms: Script, tmp_path: Path) -> None:
    lmms.leaves([sample(0, 1.0)])
    measured("gqa", tmp_path / "out", "llava_cot")
    argv = lmms.calls[0]["argv"]
    tags = json.loads(argv[argv.index("--reasoning_tags") + 1])
    assert [tag for tag, _ in tags] == ["<SUMMARY>", "<CAPTION>", "<REASONING>"]


def test_keys_are_on_no_command_line_and_the_judges_is_not_the_models(
    lmms: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDRULE_API_KEYS", "a-gateway's")
    monkeypatch.setenv("HF_TOKEN", "hub-token")
    lmms.leaves([read("4", True)])
    measured("mathvista", tmp_path / "judged", judge=JUDGE)
    lmms.leaves([sample(0, 1.0)])
    keyed = Endpoint("http://127.0.0.1:8000/v1", "pst", "the-model's-key")
    measure(keyed, [ABILITIES["gqa"]], Asking(THINK, judge=JUDGE), tmp_path / "keyed")
    judged, own = lmms.calls
    assert "api_key=none" in judged["argv"][6]
    assert judged["environment"]["OPENAI_API_KEY"] == "the-judge's-key"
    assert judged["environment"]["OPENAI_API_URL"] == "https://judge.example/v1"
    assert judged["environment"]["MODEL_VERSION"] == "reader"
    assert "api_key" not in own["argv"][6]
    assert own["environment"]["OPENAI_API_KEY"] == "the-model's-key"
    for call in (judged, own):
        assert not any("'s-key" in part for part in call["argv"])
        assert "GROUNDRULE_API_KEYS" not in call["environment"]
        # lmms-eval would write it into its log.
        assert "HF_TOKEN" not in call["environment"]
        assert call["environment"]["HUGGING_FACE_HUB_TOKEN"] == "hub-token"
    assert "'s-key" not in (tmp_path / "keyed" / "gqa" / "asked.json").read_text()


def test_a_whole_run_is_not_repeated_until_something_else_is_asked(lmms: Script, tmp_path: Path) -> None:
    lmms.leaves([sample(0, 1.0)])
    assert measured("gqa", tmp_path / "out") == measured("gqa", tmp_path / "out")
    assert len(lmms.calls) == 1
    lmms.leaves([sample(0, 0.0), sample(1, 0.0)])
    assert measured("gqa", tmp_path / "out", max_tokens=100).n == 2
    assert len(lmms.calls) == 2


def test_other_weights_under_the_same_name_are_another_run(lmms: Script, tmp_path: Path) -> None:
    with ScriptedVllm().running() as server:
        pst = Endpoint(server.url, "pst")
        for root, right, runs in (("pst@one", 1.0, 1), ("pst@one", 0.0, 1), ("pst@two", 0.0, 2)):
            server.roots = {"base": "base", "pst": root}
            lmms.leaves([sample(0, right)])
            known = identified(pst, "--base-url")
            (rate,) = measure(known, [ABILITIES["gqa"]], Asking(THINK), tmp_path / "out")
            assert len(lmms.calls) == runs
    assert rate.rate
    assert rate.rate.value == 0.0


def test_a_failed_run_leaves_no_older_numbers_in_its_place(lmms: Script, tmp_path: Path) -> None:
    lmms.leaves([sample(0, 1.0)])
    measured("gqa", tmp_path / "out")
    lmms.leaves([], status=1)
    for _ in range(2):
        with pytest.raises(StageAborted, match=r"(?s)ended with status 1: the end of .*log in first"):
            measured("gqa", tmp_path / "out", limit=3)
    assert "log in first" in (tmp_path / "out" / "gqa" / LOG_FILE).read_text()
    assert len(lmms.calls) == 3


@pytest.mark.parametrize(
    ("samples", "n", "fault"),
    [
        ([sample(0, 1.0)], 2, "1 of 2 samples"),
        ([sample(0, 7.0)], 1, "a score of 7.0"),
        ([{"doc_id": 0, "filtered_resps": "yes"}], 1, "exact_match"),
        ([sample(0, 1.0, filtered_resps=["a", "b"])], 1, "filtered_resps is no text"),
    ],
)
def test_files_of_another_form_are_no_numbers(
    samples: list[dict[str, Any]], n: int, fault: str, lmms: Script, tmp_path: Path
) -> None:
    lmms.leaves(samples, n)
    with pytest.raises(StageAborted, match=fault):
        measured("gqa", tmp_path / "out")


def test_what_is_missing_is_said_before_anything_runs(lmms: Script, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="mathvista needs a judge"):
        measure(MODEL, [ABILITIES["gqa"], ABILITIES["mathvista"]], Asking(THINK), tmp_path)
    keyed = Endpoint(MODEL.base_url, MODEL.model, "a-key")
    with pytest.raises(RecipeError, match="knows one key"):
        measure(keyed, [ABILITIES["mathvista"]], Asking(THINK, judge=JUDGE), tmp_path)
    with pytest.raises(RecipeError, match="no commas"):
        measure(Endpoint("http://a/v1", "a,b"), [ABILITIES["gqa"]], Asking(THINK), tmp_path)
    assert lmms.calls == []


def test_a_missing_environment_is_made_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="python -m align ability --make-environment"):
        measured("gqa", tmp_path / "out")
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text('#!/bin/sh\necho "$@" >> "$0.log"\n')
    uv.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    make_environment()
    made, installed = Path(f"{uv}.log").read_text().splitlines()
    assert made.startswith("venv ")
    assert installed == "pip install --python .cache/venv-lmms/bin/python lmms-eval==0.7.3"


def test_the_command_writes_rates_and_shows_them(
    lmms: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lmms.leaves([sample(n, 1.0) for n in range(20)])
    parser = ArgumentParser()
    add_parser(parser.add_subparsers())
    with ScriptedVllm().running() as server:
        flags = f"--base-url {server.url} --model pst --benchmark gqa --benchmark vqav2".split()
        arguments = parser.parse_args(["ability", *flags, "--out", str(tmp_path / "out")])
        arguments.command(arguments)
    assert "100.0% [83.9%, 100.0%]" in capsys.readouterr().out
    rates = json.loads((tmp_path / "out" / "ability.json").read_text())
    assert [Rate.model_validate_json(json.dumps(rate)).task for rate in rates] == ["gqa", "vqav2"]
    with pytest.raises(RecipeError, match="--base-url: nothing answers at http://127"):
        arguments.command(arguments)
    nothing = parser.parse_args(["ability"])
    with pytest.raises(RecipeError, match="--base-url is missing"):
        nothing.command(nothing)
