"""A training as a file says it, so that it runs the same in this process and in several that are launched."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from align.records import Dropped, Pair, SftRow, read_rows, write_rows
from align.train.errors import TrainingFailed
from align.train.failure import FAILED_FILE, failure
from align.training_tables import Launch, Sft, Srpo

JOB_FILE = "job.json"
LEFT_OUT_FILE = "left-out.jsonl"
"""Rows that could not be trained on."""
LAUNCH_CONFIGS = Path(__file__).parent / "launch"


class Stage1(BaseModel):
    """What SFT is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: Sft


class Stage2(BaseModel):
    """What SRPO is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: Srpo
    sft_adapter: Path
    """Goes on with it."""


class Job(BaseModel):
    """One stage's training, with all its paths."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Path
    """Of `SftRow` for stage 1, of `Pair` for stage 2."""
    images_root: Path
    base: Path
    out: Path
    reasoning_format: str
    """What the rows are written in."""
    what: Stage1 | Stage2


def run_job(job: Job) -> None:
    """Train in this process; leaves adapter, curves and the rows left out in `job.out`."""
    from accelerate import PartialState

    job.out.mkdir(parents=True, exist_ok=True)
    dropped = _stage_1(job, job.what) if isinstance(job.what, Stage1) else _stage_2(job, job.what)
    if PartialState().is_main_process:  # all have the same
        write_rows(job.out / LEFT_OUT_FILE, dropped)


def _stage_1(job: Job, what: Stage1) -> list[Dropped]:
    rows = list(read_rows(job.rows, SftRow))
    from align.train.sft import train_adapter  # takes its time, as the next one does

    return train_adapter(
        rows, job.images_root, what.settings, job.base, job.out, reasoning_format=job.reasoning_format
    )[1]


def _stage_2(job: Job, what: Stage2) -> list[Dropped]:
    pairs = list(read_rows(job.rows, Pair))
    from align.train.srpo import prefer

    return prefer(
        pairs,
        job.images_root,
        what.settings,
        job.base,
        what.sft_adapter,
        job.out,
        reasoning_format=job.reasoning_format,
    )[1]


def run_apart(job: Job) -> None:
    """Train in a process of its own, on one GPU where there are several; raises what it raised.

    A process that has trained keeps the GPU's memory for as long as it lives, and what comes next in a run
    (stage 2, an engine) needs it.
    """
    visible = _one_gpu()
    _in_processes(job, (sys.executable,), {"CUDA_VISIBLE_DEVICES": visible} if visible else {})


def _one_gpu() -> str | None:
    """The first that this process may use, where it may use several; says that the others are not used."""
    import torch

    if (count := torch.cuda.device_count()) < 2:
        return None
    sys.stderr.write(f"training on one of {count} GPUs: add [launch] to the recipe to train on several\n")
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def launch_job(job: Job, launch: Launch) -> None:
    """Train in several processes by `accelerate launch`; they end with this one, even when it is killed.

    Raises what the first of them to fail did; TrainingFailed where it could not say why.
    """
    config = ("--config_file", str(config_file(launch)), "--num_processes", str(launch.processes))
    _in_processes(job, (sys.executable, "-m", "accelerate.commands.launch", *config), {})


def _in_processes(job: Job, python: Sequence[str], environment: Mapping[str, str]) -> None:
    """`python -m align.train` by this way of starting Python."""
    job.out.mkdir(parents=True, exist_ok=True)
    (job.out / FAILED_FILE).unlink(missing_ok=True)
    path = job.out / JOB_FILE
    path.write_text(job.model_dump_json(indent=2) + "\n", encoding="utf-8")
    leash = (sys.executable, "-m", "serve.engine.leash", str(os.getpid()))
    process = subprocess.Popen(
        (*leash, *python, "-m", "align.train", str(path)), env={**os.environ, **environment}
    )
    try:
        status = process.wait()
    finally:
        process.terminate()  # it ends the others, which a Ctrl-C does not reach; nothing where all is done
        process.wait()
    if status:
        raise failure(job.out, status)


def config_file(launch: Launch) -> Path:
    """The packaged configuration of that name, or the file; TrainingFailed where it cannot be launched."""
    packaged = LAUNCH_CONFIGS / f"{launch.config}.yaml"
    if not packaged.is_file() and not Path(launch.config).is_file():
        names = ", ".join(sorted(path.stem for path in LAUNCH_CONFIGS.glob("*.yaml")))
        raise TrainingFailed(f"launch.config = {launch.config!r} is no file, and none of {names}")
    if launch.config == "fsdp" and not has_gpu():
        raise TrainingFailed('launch.config = "fsdp" cuts a model up over GPUs, and there is none: use "ddp"')
    if launch.config == "deepspeed" and find_spec("deepspeed") is None:
        how = "uv pip install --no-build-isolation deepspeed"  # its build looks at torch
        raise TrainingFailed(f'launch.config = "deepspeed" needs the package: {how}')
    return packaged if packaged.is_file() else Path(launch.config)


def has_gpu() -> bool:
    """Whether a training here takes a GPU."""
    import torch

    return torch.cuda.is_available()
