"""Both stages in two processes, as `accelerate launch` starts them: the same adapter as from one.

Where there is no GPU, as here, accelerate has gloo between the processes.
"""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from peft import PeftModel
from safetensors.torch import load_file

from align.errors import StageAborted
from align.records import RecordError, write_rows
from align.stages.training import trained
from align.stages.workspace import Workspace
from align.train.adapter import TRAINED
from align.train.arguments import CHECKPOINTS
from align.train.bases import load_base
from align.train.errors import TrainingFailed
from align.train.failure import FAILED_FILE, failure, leave_failure
from align.train.job import (
    JOB_FILE,
    LAUNCH_CONFIGS,
    LEFT_OUT_FILE,
    Job,
    Stage1,
    Stage2,
    config_file,
    launch_job,
    run_apart,
    run_job,
)
from align.training_tables import Launch, Sft, Srpo
from policies.bundle import WEIGHTS_FILE
from policies.catalog import load_catalog
from tests.align.recipes import recipe
from tests.align.tiny_bases import tiny_base
from tests.align.training import QWEN, SFT, SRPO, pairs, picture, sft_rows

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(240)]
TWO = Launch(config="ddp", processes=2)
LONG_SFT = SFT.model_copy(update={"epochs": 6.0})
LONG_SRPO = SRPO.model_copy(update={"epochs": 6.0})


class Lab:
    """A base, rows and pairs, and what one process makes of them."""

    def __init__(self, work: Path) -> None:
        self.work = work
        tiny_base(QWEN, work / "base")
        write_rows(work / "rows.jsonl", sft_rows(work))
        write_rows(work / "pairs.jsonl", pairs(work))
        run_job(self.stage_1("one-sft"))
        run_job(self.stage_2("one-srpo"))

    def stage_1(self, name: str, settings: Sft = LONG_SFT) -> Job:
        return self._job(name, "rows.jsonl", Stage1(settings=settings))

    def stage_2(self, name: str, settings: Srpo = LONG_SRPO) -> Job:
        return self._job(name, "pairs.jsonl", Stage2(settings=settings, sft_adapter=self.work / "one-sft"))

    def _job(self, name: str, rows: str, what: Stage1 | Stage2) -> Job:
        return Job(
            rows=self.work / rows,
            images_root=self.work,
            base=self.work / "base",
            out=self.work / name,
            reasoning_format="think",
            what=what,
        )

    def are_alike(self, one: str, several: str) -> None:
        ours, theirs = (self.losses(name) for name in (one, several))
        assert theirs == pytest.approx(ours, rel=1e-4)
        weights, others = (load_file(self.work / name / WEIGHTS_FILE) for name in (one, several))
        assert weights.keys() == others.keys()
        assert all(torch.allclose(weights[name], others[name], atol=1e-3) for name in weights)

    def losses(self, name: str) -> list[float]:
        found: list[float] = json.loads((self.work / name / "training.json").read_text())["loss"]
        return found


@pytest.fixture(scope="module", autouse=True)
def small_and_on_cpus() -> Iterator[None]:
    """Products this small take longer on two threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


def at_first_checkpoint(job: Job, do: Callable[[], None]) -> threading.Thread:
    """Does it once, as soon as the launched training has written a checkpoint."""

    def wait() -> None:
        while not list((job.out / CHECKPOINTS).glob("*/trainer_state.json")):
            time.sleep(0.01)
        do()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def kill_the_second() -> None:
    for process in psutil.Process().children(recursive=True):
        if process.environ().get("LOCAL_RANK") == "1":
            process.kill()


def test_a_killed_process_ends_all_and_the_next_launch_ends_as_one_process_does(lab: Lab) -> None:
    job = lab.stage_2("killed")
    killer = at_first_checkpoint(job, kill_the_second)
    with pytest.raises(TrainingFailed, match="a launched process failed: status 1"):
        launch_job(job, TWO)
    killer.join(1)
    assert not (job.out / WEIGHTS_FILE).exists()
    assert list((job.out / CHECKPOINTS).iterdir())
    launch_job(job, TWO)
    lab.are_alike("one-srpo", "killed")
    assert (job.out / LEFT_OUT_FILE).read_text() == ""


def test_what_one_process_cannot_do_ends_all_with_its_words_and_leaves_the_curve_so_far(lab: Lab) -> None:
    """One process has the row; the other waits for its gradients. Until then all was as in one process."""
    job = lab.stage_1("spoilt")
    spoiler = at_first_checkpoint(job, lambda: spoil(lab.work / "pictures" / "1.png"))
    try:
        with pytest.raises(TrainingFailed, match=r"^row row-1: .*1\.png cannot be opened as a picture"):
            launch_job(job, TWO)
    finally:
        picture(lab.work, 1)
    spoiler.join(1)
    with (job.out / "training.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) >= 2
    assert losses == pytest.approx(lab.losses("one-sft")[: len(losses)], rel=1e-4)


def spoil(path: Path) -> None:
    path.write_bytes(b"spoilt")


LAUNCHING = """
import sys
from pathlib import Path
from align.train.job import Job, launch_job
from align.training_tables import Launch

job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
launch_job(job, Launch(config="ddp", processes=2))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_whoever_launched_a_training_takes_it_along_when_killed_or_interrupted(
    lab: Lab, how: signal.Signals, tmp_path: Path
) -> None:
    job = lab.stage_1(f"left-by-{how.name}", LONG_SFT.model_copy(update={"epochs": 1000.0}))
    (tmp_path / "job.json").write_text(job.model_dump_json())
    with subprocess.Popen([sys.executable, "-c", LAUNCHING, str(tmp_path / "job.json")]) as run:
        until(lambda: len(workers_of(run.pid)) == 2)
        workers = workers_of(run.pid)
        os.kill(run.pid, how)
    try:
        until(lambda: not any(map(is_alive, workers)))
    finally:
        for worker in filter(is_alive, workers):
            worker.kill()


def workers_of(process: int) -> list[psutil.Process]:
    """Those that train; they are in sessions of their own."""
    children = psutil.Process(process).children(recursive=True)
    return [child for child in children if is_alive(child) and "LOCAL_RANK" in child.environ()]


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def until(holds: Callable[[], bool], patience_s: float = 90) -> None:
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_training_in_a_process_of_its_own_is_the_same_and_leaves_no_process(lab: Lab) -> None:
    job, before = lab.stage_2("apart"), psutil.Process().children(recursive=True)
    run_apart(job)
    lab.are_alike("one-srpo", "apart")
    assert (job.out / LEFT_OUT_FILE).read_text() == ""
    assert psutil.Process().children(recursive=True) == before
    unreadable = lab.stage_1("apart-unreadable").model_copy(update={"rows": lab.work / "nowhere.jsonl"})
    with pytest.raises(RecordError, match="nowhere"):
        run_apart(unreadable)


@pytest.mark.parametrize(("visible", "seen"), [(None, "0"), ("2,3", "2"), ("GPU-a1,GPU-b2", "GPU-a1")])
def test_where_there_are_several_gpus_one_is_trained_on_and_that_is_said(
    visible: str | None,
    seen: str,
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A stand-in for Python tells what the training's process sees."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nexec env -i SEEN="$CUDA_VISIBLE_DEVICES" sh -c \'echo "saw $SEEN"\'\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    run_apart(lab.stage_1("on-one-gpu"))
    told = capfd.readouterr()
    assert told.out == f"saw {seen}\n"
    assert "training on one of 4 GPUs: add [launch]" in told.err


@pytest.mark.parametrize("gpu", [True, False])
def test_a_run_trains_apart_where_there_is_a_gpu_whose_memory_the_next_stage_needs(
    gpu: bool, lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    called: list[str] = []

    def noted(job: Job) -> None:
        called.append("apart")
        run_job(job)

    monkeypatch.setattr("align.train.job.run_apart", noted)
    monkeypatch.setattr("align.train.job.has_gpu", lambda: gpu)
    run = Workspace(recipe(tmp_path), load_catalog(), tmp_path / "run")
    run.folder("sft").mkdir(parents=True)
    made = trained(run, "sft", lab.stage_1(f"on-gpu-{gpu}", SFT))
    assert made.rows == 8
    assert called == (["apart"] if gpu else [])


def test_rows_that_cannot_be_read_end_a_launched_training_as_one_in_this_process(lab: Lab) -> None:
    job = lab.stage_1("unreadable").model_copy(update={"rows": lab.work / "nowhere.jsonl"})
    with pytest.raises(RecordError) as here:
        run_job(job)
    with pytest.raises(RecordError) as launched:
        launch_job(job, TWO)
    assert str(launched.value) == str(here.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "adapter/x"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("of no number"),
        RecordError("rows.jsonl, line 3: is not JSON"),
        StageAborted("sft: 9 of 9 rows"),
        TrainingFailed("the loss is nan"),
    ],
)
def test_what_ended_a_process_is_raised_again_as_it_was(error: Exception, tmp_path: Path) -> None:
    leave_failure(tmp_path, error)
    leave_failure(tmp_path, TrainingFailed("another process ended because of the first"))
    again = failure(tmp_path, 1)
    assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)


@pytest.mark.parametrize("left", [None, "", '{"kind": "OSEr'])
def test_a_process_that_found_no_room_for_its_reason_is_told_by_its_status(
    left: str | None, tmp_path: Path
) -> None:
    if left is not None:
        (tmp_path / FAILED_FILE).write_text(left)
    leave_failure(tmp_path / "gone", OSError(errno.ENOSPC, "No space left on device"))
    again = failure(tmp_path, 7)
    assert isinstance(again, TrainingFailed)
    assert str(again) == "a launched process failed: status 7; see above"


SHARDED = """
import os, sys
from pathlib import Path

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
import torch
from accelerate import DistributedType, PartialState
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

# accelerate cuts models up over accelerators only, and leaves them whole on CPUs without a word.
torch.distributed.init_process_group("gloo")
PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)

from align.train import __main__, session

usual = session.whole_adapter

def checked(model):
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    return usual(model)

session.whole_adapter = checked

class Interrupted(Exception): ...

class Interrupt(TrainerCallback):
    def __init__(self, trainer): ...

    def on_step_end(self, args, state, control, **_):
        if state.global_step == 5:
            raise Interrupted

def main(job, callback=None):
    watch = session.GradientWatch
    if callback:
        session.GradientWatch = callback
    try:
        return __main__.main([job])
    except Interrupted:
        return 0
    finally:
        session.GradientWatch = watch

sft, srpo = sys.argv[1:]
for job, callback in ((sft, None), (srpo, Interrupt), (srpo, None)):
    if main(job, callback):
        sys.exit(1)
PartialState().destroy_process_group()
"""


def test_a_base_cut_up_over_two_processes_gives_the_adapter_of_one_whole_and_goes_on(
    lab: Lab, tmp_path: Path
) -> None:
    """FSDP2 in stage 1, in stage 2 until it is interrupted, and in the rest of it."""
    (tmp_path / "sharded.py").write_text(SHARDED)
    jobs = (lab.stage_1("fsdp-sft"), lab.stage_2("fsdp-srpo"))
    for job in jobs:
        job.out.mkdir()
        (job.out / JOB_FILE).write_text(job.model_dump_json())
    command = (
        *(sys.executable, "-m", "accelerate.commands.launch", "--config_file"),
        *(str(LAUNCH_CONFIGS / "fsdp.yaml"), "--num_processes", "2", str(tmp_path / "sharded.py")),
        *(str(job.out / JOB_FILE) for job in jobs),
    )
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lab.are_alike("one-sft", "fsdp-sft")
    lab.are_alike("one-srpo", "fsdp-srpo")
    model = PeftModel.from_pretrained(load_base(lab.work / "base", torch.float32), jobs[1].out)
    placed = dict(model.named_parameters())
    for name, tensor in load_file(jobs[1].out / WEIGHTS_FILE).items():
        assert torch.equal(placed[name.replace(".weight", f".{TRAINED}.weight")], tensor.float())


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is installed by those who use it")
def test_deepspeed_gives_the_adapter_of_one_process(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    for stage, job in (("sft", lab.stage_1("zero-sft")), ("srpo", lab.stage_2("zero-srpo"))):
        launch_job(job, Launch(config="deepspeed", processes=2))
        lab.are_alike(f"one-{stage}", f"zero-{stage}")


@pytest.mark.parametrize("name", ["ddp", "fsdp", "deepspeed"])
def test_the_packaged_configurations_are_what_accelerate_takes(name: str) -> None:
    """It refuses keys that it does not know; what is inside tables, only its launcher does."""
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(LAUNCH_CONFIGS / f"{name}.yaml"))
    assert (config.main_process_port, config.mixed_precision) == (0, "no")
    known = vars(launch_command_parser().parse_args(["script.py"]))
    said = yaml.safe_load((LAUNCH_CONFIGS / f"{name}.yaml").read_text())
    inner = {**said.get("fsdp_config", {}), **said.get("deepspeed_config", {})}
    assert inner.keys() <= known.keys()


def test_a_configuration_that_is_nowhere_is_refused_by_name(lab: Lab) -> None:
    with pytest.raises(TrainingFailed, match=r"'dpd' is no file, and none of ddp, deepspeed, fsdp"):
        launch_job(lab.stage_1("nowhere"), Launch(config="dpd", processes=2))


@pytest.mark.parametrize(
    ("config", "why"),
    [("fsdp", 'there is none: use "ddp"'), ("deepspeed", "needs the package: uv pip install")],
)
def test_a_configuration_that_lacks_what_it_needs_is_refused(
    config: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align.train.job.find_spec", lambda _: None)
    with pytest.raises(TrainingFailed, match=why):
        config_file(Launch(config=config, processes=2))
