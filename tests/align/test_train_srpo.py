"""Stage 2 on a tiny base: DPO by the book, from where stage 1 ended, with a reference that stays there."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from align.records import DropReason, Pair
from align.train.bases import load_base
from align.train.sft import train_adapter
from align.train.srpo import WatchedDPO, prefer, srpo_trainer
from policies.bundle import WEIGHTS_FILE
from tests.align.tiny_bases import tiny_base
from tests.align.training import QWEN, SFT, SRPO, pairs, sft_rows

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(QWEN, tmp_path_factory.mktemp("bases") / "qwen")


@pytest.fixture(scope="module")
def sft(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stage 1's adapter."""
    work = tmp_path_factory.mktemp("stage-1")
    train_adapter(sft_rows(work), work, SFT.model_copy(update={"epochs": 3.0}), base, work / "adapter")
    return work / "adapter"


def trainer_for(
    work: Path, base: Path, sft: Path, some: list[Pair] | None = None, **changes: Any
) -> WatchedDPO:
    settings = SRPO.model_copy(update=changes)
    return srpo_trainer(some or pairs(work), work, settings, base, sft, work / "out")[0]


def swapped(pair: Pair) -> Pair:
    return pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen})


def log_probability(model: PeftModel, trainer: WatchedDPO, pair: Pair, reply: str) -> float:
    """Of the reply to the pair's question, token by token and by nothing of TRL's."""
    row = next(row for row in trainer.train_dataset if row["id"] == pair.id)
    batch = trainer.data_collator([{**row, "chosen": said(reply), "rejected": said(reply)}])
    inputs = {key: value for key, value in batch.items() if key not in ("completion_mask", "row_numbers")}
    with torch.no_grad():
        logits = model(**inputs).logits[0, :-1].double()
    found = logits.log_softmax(-1).gather(1, inputs["input_ids"][0, 1:, None])[:, 0]
    return float((found * batch["completion_mask"][0, 1:]).sum())


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_at_the_first_step_all_rewards_are_0_and_the_loss_is_ln_2(
    base: Path, sft: Path, tmp_path: Path
) -> None:
    trainer = trainer_for(tmp_path, base, sft)
    trainer.train()
    first = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert (first["rewards/chosen"], first["rewards/rejected"], first["rewards/margins"]) == (0, 0, 0)


def test_the_loss_is_dpos_as_one_computes_it_by_hand(base: Path, sft: Path, tmp_path: Path) -> None:
    """After some steps, when the policy has left its reference."""
    some = pairs(tmp_path)
    trainer = trainer_for(tmp_path, base, sft, some, beta=0.3)
    trainer.train()
    policy = trainer.model.eval()
    reference = PeftModel.from_pretrained(load_base(base, torch.float32), sft).eval()
    wanted = []
    for pair in some:
        chosen, rejected = (
            log_probability(policy, trainer, pair, reply) - log_probability(reference, trainer, pair, reply)
            for reply in (pair.chosen, pair.rejected)
        )
        wanted.append(math.log1p(math.exp(-0.3 * (chosen - rejected))))
    batch = trainer.data_collator(list(trainer.train_dataset))
    with torch.no_grad():
        loss = trainer.compute_loss(policy, batch)
    assert loss.item() == pytest.approx(sum(wanted) / len(wanted), rel=1e-4)
    assert max(wanted) - min(wanted) > 1e-3


def test_swapping_chosen_and_rejected_turns_the_gradient_round(base: Path, sft: Path, tmp_path: Path) -> None:
    gradients = []
    for some in (pairs(tmp_path), [swapped(pair) for pair in pairs(tmp_path)]):
        trainer = trainer_for(tmp_path, base, sft, some)
        batch = trainer.data_collator(list(trainer.train_dataset))
        trainer.compute_loss(trainer.model, batch).backward()
        gradients.append({n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None})
    there, back = gradients
    assert there.keys() == back.keys()
    assert any(bool(gradient.abs().max() > 1e-3) for gradient in there.values())
    assert all(torch.allclose(there[name], -back[name], atol=1e-5) for name in there)


def test_training_goes_on_from_stage_1_and_its_copy_stays_where_it_was(
    base: Path, sft: Path, tmp_path: Path
) -> None:
    trainer = trainer_for(tmp_path, base, sft)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    stage_1 = load_file(sft / WEIGHTS_FILE)
    for name, tensor in stage_1.items():
        for copy in ("default", "ref"):
            placed = before[name.replace(".weight", f".{copy}.weight")]
            assert torch.equal(placed, tensor.float())
    trainer.train()
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert moved == {name for name in before if "lora_" in name and ".default." in name}


def test_pairs_are_told_apart_better_after_than_before(base: Path, sft: Path, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, base, sft, epochs=4.0)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert log[-1]["rewards/margins"] > 0.1 > log[0]["rewards/margins"]
    assert log[-1]["rewards/accuracies"] == 1.0


def test_what_is_written_is_one_adapter_without_the_reference(base: Path, sft: Path, tmp_path: Path) -> None:
    prefer(pairs(tmp_path), tmp_path, SRPO, base, sft, tmp_path / "out")
    written = load_file(tmp_path / "out" / WEIGHTS_FILE)
    assert written.keys() == load_file(sft / WEIGHTS_FILE).keys()
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_file()) == [
        "adapter_config.json", "adapter_model.safetensors", "training.csv", "training.json", "training.svg",
    ]  # fmt: skip


@pytest.mark.parametrize("losses", [{"sigmoid": 1.0}, {"sigmoid": 1.0, "sft": 0.2}], ids=str)
def test_eight_pairs_at_once_are_eight_pairs_one_by_one(
    losses: dict[str, float], base: Path, sft: Path, tmp_path: Path
) -> None:
    settings = SRPO.model_copy(update={"batch_size": 8, "epochs": 2.0, "losses": losses})
    once = prefer(pairs(tmp_path), tmp_path, settings, base, sft, tmp_path / "once")[0]
    singly = settings.model_copy(update={"micro_batch_size": 1})
    assert prefer(pairs(tmp_path), tmp_path, singly, base, sft, tmp_path / "singly")[0] == pytest.approx(
        once, rel=1e-4
    )
    ours, theirs = (load_file(tmp_path / name / WEIGHTS_FILE) for name in ("once", "singly"))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-3) for name in ours)


def test_a_stopped_training_goes_on_and_ends_as_one_that_was_not(
    base: Path, sft: Path, tmp_path: Path
) -> None:
    settings = SRPO.model_copy(update={"epochs": 3.0})
    whole, _ = prefer(pairs(tmp_path), tmp_path, settings, base, sft, tmp_path / "whole")
    trainer, _ = srpo_trainer(pairs(tmp_path), tmp_path, settings, base, sft, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        interrupted_at(3, trainer)
    resumed, _ = prefer(pairs(tmp_path), tmp_path, settings, base, sft, tmp_path / "out")
    assert resumed == whole
    assert (tmp_path / "out" / WEIGHTS_FILE).read_bytes() == (tmp_path / "whole" / WEIGHTS_FILE).read_bytes()


def interrupted_at(step: int, trainer: WatchedDPO) -> None:
    from transformers import TrainerCallback

    class Interrupt(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == step:
                raise KeyboardInterrupt

    trainer.add_callback(Interrupt())
    trainer.train()


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": {"sigmoid": 1.0, "sft": 0.2}},
        {"losses": {"sigmoid_norm": 1.0}},
        {"ld_alpha": 0.5},
        {"losses": {"robust": 1.0}, "label_smoothing": 0.1},
        {"losses": {"ipo": 1.0}},
        {"losses": {"hinge": 1.0}},
        {"losses": {"apo_zero": 1.0}},
        {"losses": {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}},
    ],
    ids=str,
)
def test_every_loss_of_the_recipe_trains(
    changes: dict[str, Any], base: Path, sft: Path, tmp_path: Path
) -> None:
    losses = {}
    for name, wanted in (("plain", {}), ("changed", changes)):
        trainer = trainer_for(tmp_path / name, base, sft, **wanted)
        trainer.train()
        losses[name] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert all(math.isfinite(loss) for loss in losses["changed"])
    assert losses["changed"][1] != pytest.approx(losses["plain"][1], rel=1e-3)


def test_a_pair_of_which_one_reply_does_not_fit_is_dropped(base: Path, sft: Path, tmp_path: Path) -> None:
    some = pairs(tmp_path)
    some[3] = some[3].model_copy(update={"rejected": "no " * 300})
    settings = SRPO.model_copy(update={"max_tokens": 200, "max_dropped_share": 0.2})
    trainer, dropped = srpo_trainer(some, tmp_path, settings, base, sft, tmp_path / "out")
    assert [(drop.id, drop.reason) for drop in dropped] == [("pair-3", DropReason.TOO_LONG)]
    assert len(trainer.train_dataset) == 7
