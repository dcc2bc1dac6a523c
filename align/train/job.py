"""A training as a file says it, so that it runs the same in this process and in several that are launched."""

import subprocess
import sys
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from align.records import Dropped, Pair, SftRow, read_rows, write_rows
from align.train.errors import TrainingFailed
from align.training_tables import Launch, Sft, Srpo

JOB_FILE = "job.json"
LEFT_OUT_FILE = "left-out.jsonl"
"""Rows that could not be trained on."""
FAILED_FILE = "failed.txt"
"""Why a launched training ended, for whoever launched it."""
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
    from align.train.sft import train_adapter

    rows = list(read_rows(job.rows, SftRow))
    return train_adapter(
        rows, job.images_root, what.settings, job.base, job.out, reasoning_format=job.reasoning_format
    )[1]


def _stage_2(job: Job, what: Stage2) -> list[Dropped]:
    from align.train.srpo import prefer

    pairs = list(read_rows(job.rows, Pair))
    return prefer(
        pairs,
        job.images_root,
        what.settings,
        job.base,
        what.sft_adapter,
        job.out,
        reasoning_format=job.reasoning_format,
    )[1]


def launch_job(job: Job, launch: Launch) -> None:
    """Train in several processes by `accelerate launch`; TrainingFailed with what one of them said."""
    job.out.mkdir(parents=True, exist_ok=True)
    if launch.config == "fsdp" and not torch.cuda.is_available():
        raise TrainingFailed('launch.config = "fsdp" cuts a model up over GPUs, and there is none: use "ddp"')
    failed = job.out / FAILED_FILE
    failed.unlink(missing_ok=True)
    path = job.out / JOB_FILE
    path.write_text(job.model_dump_json(indent=2) + "\n", encoding="utf-8")
    command = (
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(config_file(launch)), "--num_processes", str(launch.processes)),
        *("-m", "align.train", str(path)),
    )
    status = subprocess.run(command, check=False).returncode
    if status:
        why = failed.read_text(encoding="utf-8") if failed.exists() else f"status {status}; see above"
        raise TrainingFailed(f"a launched process failed: {why}")


def config_file(launch: Launch) -> Path:
    """The packaged configuration of that name, or the file."""
    packaged = LAUNCH_CONFIGS / f"{launch.config}.yaml"
    if packaged.is_file():
        return packaged
    if not Path(launch.config).is_file():
        names = ", ".join(sorted(path.stem for path in LAUNCH_CONFIGS.glob("*.yaml")))
        raise TrainingFailed(f"launch.config = {launch.config!r} is no file, and none of {names}")
    return Path(launch.config)
