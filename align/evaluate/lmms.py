"""General ability (VQAv2, GQA, ScienceQA, MathVista) through lmms-eval, a program apart.

lmms-eval brings some 150 packages that agree with none of ours, so it has an environment of its own and is
known here only as a command line and by the files that it leaves (`lmms_samples` reads them). Each
benchmark is one run of it; those that are complete are not run again. Its tasks allow 16 new tokens and
score whatever text comes, so reasoning models get more tokens, and their reasoning is taken out before
anything is scored.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from align.errors import RecipeError, StageAborted
from align.evaluate.endpoint import Endpoint
from align.evaluate.lmms_samples import Left, left_in, rate_of
from align.evaluate.results import Rate
from policies.formats import ReasoningFormat

VERSION = "0.7.3"
ENVIRONMENT = Path(".cache/venv-lmms")
"""Relative to the working directory."""
LOG_FILE = "lmms-eval.log"
_ASKED_FILE = "asked.json"
_RETRIES, _TIMEOUT_S = 5, 600
_LINES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Ability:
    """One benchmark, as lmms-eval 0.7.3 has it."""

    name: str
    """What the results call it."""
    task: str
    metric: str
    """The key of a sample's score."""
    judged: bool = False
    """Whether another model reads the answer out of the reply."""


ABILITIES: Mapping[str, Ability] = MappingProxyType(
    {
        ability.name: ability
        for ability in (
            Ability("vqav2", "vqav2_val", "exact_match"),
            Ability("gqa", "gqa", "exact_match"),
            Ability("scienceqa", "scienceqa_img", "exact_match"),
            Ability("mathvista", "mathvista_testmini_cot", "llm_as_judge_eval", judged=True),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Asking:
    """How the benchmarks are put."""

    form: ReasoningFormat
    """Of the replies, for endpoints that leave the reasoning in the text."""
    limit: int | None = None
    """Samples of each benchmark, the first so many; VQAv2 alone has 214,354."""
    max_tokens: int = 4096
    """Of a reply."""
    concurrency: int = 8
    judge: Endpoint | None = None
    """Reads MathVista's answers out of the replies."""


def measure(
    endpoint: Endpoint, abilities: Sequence[Ability], asking: Asking, out: Path, name: str = ""
) -> list[Rate]:
    """Measure a model's ability into directories below `out`; one rate per benchmark.

    `name` is what the results call the model. RecipeError where something is missing, StageAborted where
    lmms-eval fails; its own words are then in the log beside its files.
    """
    for ability in abilities:
        _check(endpoint, ability, asking)
    python = interpreter()
    rates = []
    for ability in abilities:
        left = _left(python, endpoint, ability, asking, out / ability.name)
        rates.append(rate_of(left, ability.name, ability.metric, name or endpoint.model, asking.form))
    return rates


def make_environment(directory: Path = ENVIRONMENT) -> None:
    """Install lmms-eval from the package registry; several minutes and GB. RecipeError where that fails."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise RecipeError("uv is not installed, which makes lmms-eval's environment: pip install uv")
    python = directory / "bin" / "python"
    for command in (
        [uv, "venv", "--allow-existing", "--python", sys.executable, str(directory)],
        [uv, "pip", "install", "--python", str(python), f"lmms-eval=={VERSION}"],
    ):
        if subprocess.run(command, check=False).returncode:
            raise RecipeError(f"{' '.join(command)} failed: its reason stands above")


def interpreter(directory: Path = ENVIRONMENT) -> Path:
    """The environment's Python; RecipeError where there is none."""
    python = directory / "bin" / "python"
    if not python.exists():
        raise RecipeError(
            f"lmms-eval is not installed in {directory}: make its environment with "
            "`python -m align ability --make-environment`"
        )
    return python.absolute()  # not resolved: the link's own place is what makes it an environment


def command_line(python: Path, endpoint: Endpoint, ability: Ability, asking: Asking, out: Path) -> list[str]:
    """What is run; no key is on it, since everybody on the machine can read it."""
    model = {
        "model": endpoint.model,
        "base_url": endpoint.base_url,
        "num_cpus": asking.concurrency,  # so lmms-eval calls its requests in flight
        "timeout": _TIMEOUT_S,
        "max_retries": _RETRIES,
        # In the environment is the judge's key, which is none of the model's business.
        **({"api_key": "none"} if endpoint.api_key is None else {}),
    }
    options = {
        "--model": "async_openai",
        "--model_args": ",".join(f"{name}={value}" for name, value in model.items()),
        "--tasks": ability.task,
        "--gen_kwargs": f"max_new_tokens={asking.max_tokens},temperature=0",
        "--reasoning_tags": json.dumps([[part.opening, part.closing] for part in asking.form.reasoning]),
        "--batch_size": "1",
        "--output_path": str(out),
        **({"--limit": str(asking.limit)} if asking.limit else {}),
    }
    spelled = [part for name, value in options.items() for part in (name, value)]
    return [str(python), "-m", "lmms_eval", "eval", *spelled, "--log_samples"]


def variables(endpoint: Endpoint, judge: Endpoint | None) -> dict[str, str]:
    """The environment of the run: ours, less the gateways' keys, with the one key that is needed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GROUNDRULE_")}
    if token := inherited.pop("HF_TOKEN", None):
        inherited["HUGGING_FACE_HUB_TOKEN"] = token  # lmms-eval writes the other one into its log
    if judge is None:
        return {**inherited, "OPENAI_API_KEY": endpoint.api_key or "none"}
    return {
        **inherited,
        "API_TYPE": "openai",
        "OPENAI_API_KEY": judge.api_key or "none",
        "OPENAI_API_URL": judge.base_url,
        "MODEL_VERSION": judge.model,
    }


def _check(endpoint: Endpoint, ability: Ability, asking: Asking) -> None:
    if "," in f"{endpoint.base_url}{endpoint.model}":
        raise RecipeError(f"lmms-eval takes no commas in {endpoint.model!r} at {endpoint.base_url}")
    if not ability.judged:
        return
    if asking.judge is None:
        raise RecipeError(f"{ability.name} needs a judge that reads the answers out of the replies: name one")
    if endpoint.api_key:
        raise RecipeError(
            f"{ability.name}: lmms-eval knows one key, and that is the judge's: "
            "serve the model where it needs none"
        )


def _left(python: Path, endpoint: Endpoint, ability: Ability, asking: Asking, out: Path) -> Left:
    """The files of an earlier run that asked the same, or of a new one."""
    out.mkdir(parents=True, exist_ok=True)
    argv = command_line(python, endpoint, ability, asking, out.absolute())
    judge = asking.judge if ability.judged else None
    judged_by = judge and [judge.base_url, judge.model]
    asked = json.dumps([argv[1:], endpoint.version, judged_by], indent=1)
    same = (out / _ASKED_FILE).exists() and (out / _ASKED_FILE).read_text(encoding="utf-8") == asked
    if same and (left := left_in(out, ability.task)):
        return left
    for old in out.glob("*/*.json*"):
        old.unlink()  # else a run that fails would leave another's numbers in place
    (out / _ASKED_FILE).write_text(asked, encoding="utf-8")
    _run(argv, variables(endpoint, judge), out)
    if left := left_in(out, ability.task):
        return left
    raise StageAborted(f"{ability.name}: lmms-eval left no results: {_last_words(out)}")


def _run(argv: Sequence[str], environment: Mapping[str, str], out: Path) -> None:
    with (out / LOG_FILE).open("wb") as log:
        done = subprocess.run(argv, env=environment, cwd=out, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise StageAborted(f"lmms-eval ended with status {done.returncode}: {_last_words(out)}")


def _last_words(out: Path) -> str:
    lines = (out / LOG_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"the end of {out / LOG_FILE}:", *lines[-_LINES_SHOWN:]])
