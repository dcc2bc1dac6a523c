"""A base model in memory once, and adapters that are put on it in turn."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, ProcessorMixin

from align.attention.whose import BASE
from align.errors import RecipeError
from align.train.bases import load_base, load_processor
from align.train.errors import TrainingFailed
from policies.bundle import CONFIG_FILE, MANIFEST_FILE, model_config_digest, read_bundle


class Models:
    """The base model, under the name `base`, and adapters by name; float32 on a CPU, bf16 on a GPU."""

    def __init__(self, base: Path, adapters: Mapping[str, Path]) -> None:
        for directory in adapters.values():
            _check_adapter(directory, base)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.processor: ProcessorMixin = load_processor(base)
        self.model: PreTrainedModel = _loaded(base, dtype)
        self.model.to(self.device)
        self._places = {name: f"adapter{number}" for number, name in enumerate(adapters)}
        self._wearer = _dressed(self.model, {self._places[name]: path for name, path in adapters.items()})
        self.model.eval()  # the adapters in it, too: their dropout would be measured

    @property
    def names(self) -> tuple[str, ...]:
        return (BASE, *self._places)

    @contextmanager
    def as_(self, name: str) -> Iterator[PreTrainedModel]:
        """The model as it is with that adapter on, or bare."""
        if name != BASE and self._wearer:
            self._wearer.set_adapter(self._places[name])
        bare = self._wearer.disable_adapter() if name == BASE and self._wearer else nullcontext()
        with bare:
            yield self.model


def _loaded(base: Path, dtype: torch.dtype) -> PreTrainedModel:
    try:
        return load_base(base, dtype)
    except TrainingFailed as error:
        raise RecipeError(f"--base {error}") from error


def _dressed(model: PreTrainedModel, adapters: Mapping[str, Path]) -> PeftModel | None:
    """PEFT puts its layers into `model` itself; by what is returned they are switched."""
    wearer: PeftModel | None = None
    for place, path in adapters.items():
        if wearer is None:
            wearer = PeftModel.from_pretrained(model, path, adapter_name=place)
        else:
            wearer.load_adapter(path, adapter_name=place)
    return wearer


def _check_adapter(directory: Path, base: Path) -> None:
    if not (directory / CONFIG_FILE).is_file():
        raise RecipeError(f"--adapter {directory}: no {CONFIG_FILE} there, so it is no adapter")
    if not (directory / MANIFEST_FILE).is_file():
        return  # an adapter of PEFT's alone: nothing says which base it was trained on
    trained_on = read_bundle(directory).base
    if trained_on.config_digest != model_config_digest(base):
        raise RecipeError(
            f"--adapter {directory} was trained on {trained_on.id}, and {base} is another model"
        )
