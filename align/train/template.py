"""Whether a base's chat template and a reasoning format belong together, asked before anything is trained.

A template that writes the opening tag belongs to a prefilled format and no other; and where a turn ends with
no stop token, a model would be trained never to stop. Neither shows in the loss.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from align.train.errors import TrainingFailed
from policies.formats import ReasoningFormat
from policies.render import compose, render
from policies.reply import Verdict

if TYPE_CHECKING:
    from transformers import ProcessorMixin

_ANSWER = "Done."


def check_template(directory: Path, processor: "ProcessorMixin", format_: ReasoningFormat) -> None:
    """TrainingFailed if replies in `format_` do not fit the template of the base in `directory`."""
    question = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    prompt: str = processor.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    opening = format_.reasoning[0].opening.strip()
    if prompt.rstrip().endswith(opening) != format_.prefilled:
        found = "does not begin" if format_.prefilled else "begins"
        raise TrainingFailed(
            f"{directory}: the chat template {found} every reply with {opening}, which does not fit the "
            f"reasoning format {format_.name}: name another one in the recipe"
        )
    reply = render(compose([], Verdict.COMPLY, [], _ANSWER), format_)
    turn = {"role": "assistant", "content": [{"type": "text", "text": reply}]}
    text: str = processor.apply_chat_template([*question, turn], tokenize=False)
    ending = text.rpartition(_ANSWER)[2]
    tokens = set(processor.tokenizer(ending, add_special_tokens=False)["input_ids"])
    if not tokens & _stop_tokens(directory, processor):
        raise TrainingFailed(
            f"{directory}: after a reply the chat template writes {ending!r}, which holds no stop token of "
            "generation_config.json: a model trained on it would never stop"
        )


def _stop_tokens(directory: Path, processor: "ProcessorMixin") -> set[int]:
    from transformers import GenerationConfig

    stop = None
    if (directory / "generation_config.json").is_file():
        stop = GenerationConfig.from_pretrained(directory).eos_token_id
    if stop is None:
        stop = processor.tokenizer.eos_token_id
    return set(stop) if isinstance(stop, list) else {stop}
