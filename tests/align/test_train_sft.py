"""Stage 1 on a tiny base: what is learned, what is left alone, what stops it, and how it goes on."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from align.errors import StageAborted
from align.records import DropReason
from align.train.arguments import CHECKPOINTS
from align.train.bases import load_base
from align.train.errors import TrainingFailed
from align.train.memory import Estimate, check, left_in_group
from align.train.session import run_session
from align.train.sft import WatchedSFT, sft_trainer, train_adapter
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE
from tests.align.tiny_bases import tiny_base
from tests.align.training import QWEN, SFT, picture, sft_rows

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(QWEN, tmp_path_factory.mktemp("bases") / "qwen")


def trainer_for(work: Path, base: Path, **changes: Any) -> WatchedSFT:
    return sft_trainer(sft_rows(work), work, SFT.model_copy(update=changes), base, work / "out")[0]


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(adapter / WEIGHTS_FILE)
    return found


def test_labels_cover_exactly_the_completion_and_its_end(base: Path, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, base)
    rows = {row.id: row for row in sft_rows(tmp_path)}
    tokenizer = trainer.processing_class.tokenizer
    seen = set()
    for batch in trainer.get_train_dataloader():
        for labels, number in zip(batch["labels"], batch["row_numbers"].tolist(), strict=True):
            row = rows[trainer.train_dataset[number]["id"]]
            assert tokenizer.decode(labels[labels != -100]).rstrip("\n") == f"{row.completion}<|im_end|>"
            seen.add(row.id)
    assert seen == rows.keys()


def test_every_lora_tensor_moves_and_no_base_tensor_does(base: Path, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, base)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert moved == {name for name in before if "lora_" in name}
    assert moved
    assert all(".language_model." in name for name in moved)


def test_the_loss_is_the_models_own_though_only_completions_are_scored(base: Path, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, base)
    batch = next(iter(trainer.get_train_dataloader()))
    plain = {key: value for key, value in batch.items() if key != "row_numbers"}
    with torch.no_grad():
        theirs = load_base(base, torch.float32)(**plain).loss
        ours = trainer.compute_loss(trainer.model, dict(batch))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_eight_rows_at_once_are_eight_rows_one_by_one(base: Path, tmp_path: Path) -> None:
    once = train_adapter(
        sft_rows(tmp_path), tmp_path, SFT.model_copy(update={"batch_size": 8}), base, tmp_path / "once"
    )
    singly = SFT.model_copy(update={"batch_size": 8, "micro_batch_size": 1})
    assert train_adapter(sft_rows(tmp_path), tmp_path, singly, base, tmp_path / "singly")[0] == pytest.approx(
        once[0], rel=1e-5
    )
    ours, theirs = weights(tmp_path / "once"), weights(tmp_path / "singly")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)


def test_the_same_seed_gives_the_same_adapter_and_another_another(base: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train_adapter(
            sft_rows(tmp_path), tmp_path, SFT.model_copy(update={"seed": seed}), base, tmp_path / name
        )
    assert (tmp_path / "a" / WEIGHTS_FILE).read_bytes() == (tmp_path / "b" / WEIGHTS_FILE).read_bytes()
    assert (tmp_path / "a" / WEIGHTS_FILE).read_bytes() != (tmp_path / "c" / WEIGHTS_FILE).read_bytes()


KILLED = """
import os, sys
from pathlib import Path
import torch
from transformers import TrainerCallback
from align.train.sft import sft_trainer
from align.train.session import run_session
from tests.align.training import SFT, sft_rows

torch.set_num_threads(1)
base, work = Path(sys.argv[1]), Path(sys.argv[2])

class Killed(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == 5:
            os.kill(os.getpid(), 9)

settings = SFT.model_copy(update={"epochs": 4.0, "dropout": 0.1})
trainer, _ = sft_trainer(sft_rows(work), work, settings, base, work / "out")
trainer.add_callback(Killed())
run_session(trainer, work / "out", "sft")
"""


def test_a_killed_training_goes_on_and_ends_as_one_that_was_not(base: Path, tmp_path: Path) -> None:
    """With dropout, so that random numbers must go on too; the last checkpoint is half written."""
    settings = SFT.model_copy(update={"epochs": 4.0, "dropout": 0.1})
    whole, _ = train_adapter(sft_rows(tmp_path), tmp_path, settings, base, tmp_path / "whole")
    killed = subprocess.run((sys.executable, "-c", KILLED, str(base), str(tmp_path)), capture_output=True)
    assert killed.returncode == -9
    checkpoints = tmp_path / "out" / CHECKPOINTS
    (checkpoints / "checkpoint-6").mkdir()
    (checkpoints / "checkpoint-6" / "trainer_state.json").write_text('{"global_st')
    assert (checkpoints / "checkpoint-4").is_dir()
    resumed, _ = train_adapter(sft_rows(tmp_path), tmp_path, settings, base, tmp_path / "out")
    assert resumed == whole
    assert (tmp_path / "out" / WEIGHTS_FILE).read_bytes() == (tmp_path / "whole" / WEIGHTS_FILE).read_bytes()


def test_what_is_published_names_no_machine_and_holds_bfloat16(base: Path, tmp_path: Path) -> None:
    train_adapter(sft_rows(tmp_path), tmp_path, SFT, base, tmp_path / "out")
    config = json.loads((tmp_path / "out" / CONFIG_FILE).read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (None, 4, 8)
    assert {tensor.dtype for tensor in weights(tmp_path / "out").values()} == {torch.bfloat16}


def test_the_curve_is_there_for_programs_and_for_people(base: Path, tmp_path: Path) -> None:
    losses, _ = train_adapter(sft_rows(tmp_path), tmp_path, SFT, base, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "training.json").read_text()) == {"loss": losses}
    with (tmp_path / "out" / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == losses
    assert [int(row["step"]) for row in rows] == [1, 2]
    assert {"learning_rate", "grad_norm", "num_tokens"} <= rows[0].keys()
    assert "<svg" in (tmp_path / "out" / "training.svg").read_text()


def test_tensorboard_is_written_where_it_is_wanted(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    wanted = SFT.model_copy(update={"tensorboard": True})
    train_adapter(sft_rows(tmp_path), tmp_path, wanted, base, tmp_path / "out")
    assert list((tmp_path / "out").rglob("events.out.tfevents.*"))


def test_rows_that_are_too_long_are_dropped_and_counted_and_none_is_cut(base: Path, tmp_path: Path) -> None:
    rows = sft_rows(tmp_path)
    long = rows[2].model_copy(update={"completion": "a red circle " * 300})
    settings = SFT.model_copy(update={"max_tokens": 200, "max_dropped_share": 0.2})
    trainer, dropped = sft_trainer([*rows[:2], long, *rows[3:]], tmp_path, settings, base, tmp_path / "out")
    assert [(drop.id, drop.reason) for drop in dropped] == [("row-2", DropReason.TOO_LONG)]
    assert re.fullmatch(r"\d{3,4} tokens, sft.max_tokens is 200", dropped[0].detail)
    assert trainer.train_dataset["id"] == [row.id for row in rows if row.id != "row-2"]
    strict = settings.model_copy(update={"max_dropped_share": 0.1})
    with pytest.raises(StageAborted, match=r"sft: 1 of 8 rows dropped \(1 too_long\), more than"):
        sft_trainer([*rows[:2], long, *rows[3:]], tmp_path, strict, base, tmp_path / "out")


def test_a_picture_that_cannot_be_opened_costs_its_row(base: Path, tmp_path: Path) -> None:
    rows = sft_rows(tmp_path)
    (tmp_path / rows[5].image).write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    settings = SFT.model_copy(update={"max_dropped_share": 0.2})
    _, dropped = sft_trainer(rows, tmp_path, settings, base, tmp_path / "out")
    assert [(drop.id, drop.reason) for drop in dropped] == [("row-5", DropReason.IMAGE_UNREADABLE)]


def test_a_picture_of_an_impossible_shape_costs_its_row(base: Path, tmp_path: Path) -> None:
    rows = sft_rows(tmp_path)
    Image.new("RGB", (1, 300)).save(tmp_path / rows[4].image)
    settings = SFT.model_copy(update={"max_dropped_share": 0.2})
    _, dropped = sft_trainer(rows, tmp_path, settings, base, tmp_path / "out")
    assert [(drop.id, drop.reason) for drop in dropped] == [("row-4", DropReason.IMAGE_UNREADABLE)]
    assert "aspect ratio" in dropped[0].detail


def test_activations_computed_twice_give_the_same_losses(base: Path, tmp_path: Path) -> None:
    twice = SFT.model_copy(update={"gradient_checkpointing": True})
    once, _ = train_adapter(sft_rows(tmp_path), tmp_path, SFT, base, tmp_path / "once")
    assert train_adapter(sft_rows(tmp_path), tmp_path, twice, base, tmp_path / "twice")[0] == pytest.approx(
        once
    )


def test_a_row_spoilt_in_a_loaders_process_is_told_in_one_line(base: Path, tmp_path: Path) -> None:
    rows = sft_rows(tmp_path)
    trainer, _ = sft_trainer(rows, tmp_path, SFT, base, tmp_path / "out")
    trainer.args.dataloader_num_workers = 2
    (tmp_path / rows[1].image).write_bytes(b"spoilt")
    with pytest.raises(TrainingFailed) as told:
        run_session(trainer, tmp_path / "out", "sft")
    assert str(told.value).startswith("row row-1: ")
    assert "\n" not in str(told.value)


def test_a_groups_limit_counts_and_files_in_memory_do_not(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 500\nactive_file 50\n")
    assert left_in_group(tmp_path) == 650
    (tmp_path / "memory.max").write_text("max\n")
    assert left_in_group(tmp_path) > 1 << 60
    assert left_in_group(tmp_path / "none") > 1 << 60


def test_a_picture_spoilt_in_the_middle_of_an_epoch_stops_it_by_name_and_keeps_the_checkpoint(
    base: Path, tmp_path: Path
) -> None:
    settings = SFT.model_copy(update={"epochs": 3.0})
    rows = sft_rows(tmp_path)
    trainer, _ = sft_trainer(rows, tmp_path, settings, base, tmp_path / "out")
    trainer.add_callback(_at_step(3, lambda: (tmp_path / rows[1].image).write_bytes(b"spoilt")))
    with pytest.raises(TrainingFailed, match=r"row row-1: .*1\.png cannot be opened as a picture"):
        run_session(trainer, tmp_path / "out", "sft")
    assert (tmp_path / "out" / CHECKPOINTS / "checkpoint-2").is_dir()
    picture(tmp_path, 1)
    whole, _ = train_adapter(rows, tmp_path, settings, base, tmp_path / "whole")
    assert train_adapter(rows, tmp_path, settings, base, tmp_path / "out")[0] == whole


def test_a_loss_that_is_no_number_stops_by_the_rows_and_keeps_the_last_good_checkpoint(
    base: Path, tmp_path: Path
) -> None:
    trainer, _ = sft_trainer(
        sft_rows(tmp_path), tmp_path, SFT.model_copy(update={"epochs": 3.0}), base, tmp_path / "out"
    )
    lora = next(p for name, p in trainer.model.named_parameters() if "lora_B" in name)
    trainer.add_callback(_at_step(3, lambda: lora.data.fill_(float("nan"))))
    with pytest.raises(TrainingFailed, match=r"the loss is nan at step 4, on rows (row-\d(, )?){4}:"):
        run_session(trainer, tmp_path / "out", "sft")
    assert (tmp_path / "out" / CHECKPOINTS / "checkpoint-2").is_dir()
    assert not (tmp_path / "out" / WEIGHTS_FILE).exists()


def test_a_gradient_that_is_no_number_moves_no_weight(base: Path, tmp_path: Path) -> None:
    trainer, _ = sft_trainer(sft_rows(tmp_path), tmp_path, SFT, base, tmp_path / "out")
    lora = next(p for name, p in trainer.model.named_parameters() if "lora_B" in name)
    lora.register_hook(lambda gradient: gradient * float("inf"))
    before = lora.detach().clone()
    with pytest.raises(
        TrainingFailed, match=r"gradient of .* is not finite at step 1, on rows (row-\d(, )?){4}:"
    ):
        run_session(trainer, tmp_path / "out", "sft")
    assert torch.equal(lora.detach(), before)


def test_targets_on_the_tower_are_refused(base: Path, tmp_path: Path) -> None:
    settings = SFT.model_copy(update={"target_modules": r".*\.(q_proj|gate_proj)"})
    with pytest.raises(TrainingFailed, match="reaches beyond the language layers"):
        train_adapter(sft_rows(tmp_path), tmp_path, settings, base, tmp_path / "out")


def test_a_training_that_cannot_fit_says_so_before_it_loads_anything(base: Path, tmp_path: Path) -> None:
    settings = SFT.model_copy(update={"batch_size": 1 << 24})
    with pytest.raises(TrainingFailed, match=r"needs about [\d.]+ GiB \(base weights .* GiB free: lower"):
        train_adapter(sft_rows(tmp_path), tmp_path, settings, base, tmp_path / "out")
    check(Estimate(1, 2, 3, 4), free=11, where="here")
    with pytest.raises(TrainingFailed, match=r"here has 0\.0 GiB free"):
        check(Estimate(1, 2, 3, 4), free=10, where="here")


FULL = """
import resource, sys
from pathlib import Path
import torch
from align.train.sft import train_adapter
from tests.align.training import SFT, sft_rows

base, work = Path(sys.argv[1]), Path(sys.argv[2])
rows = sft_rows(work)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    train_adapter(rows, work, SFT, base, work / "out")
except OSError as error:
    print(f"OSError {error}")
"""


def test_a_full_disk_is_an_oserror_and_leaves_no_adapter(base: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: writes fail in the same places."""
    # -B, as in test_disk_full.
    command = (sys.executable, "-B", "-c", FULL, str(base), str(tmp_path), "20000")
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert "OSError" in done.stdout, done.stdout + done.stderr[-2000:]
    assert not (tmp_path / "out" / WEIGHTS_FILE).exists()
    train_adapter(sft_rows(tmp_path), tmp_path, SFT, base, tmp_path / "out")
    assert (tmp_path / "out" / WEIGHTS_FILE).exists()


def _at_step(step: int, do: Any) -> Any:
    from transformers import TrainerCallback

    class AtStep(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == step:
                do()

    return AtStep()
