"""Where the compared models answer: endpoints that the recipe names, or gateways that are started for it.

Local models share one gateway with their adapters loaded, or, merged, each has its own weights served as a
plain base model, one after the other. Who a model is, and what decides its replies, is said here by digests.
Knows nothing of tasks and logs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from align.errors import RecipeError, StageAborted
from align.evaluate.endpoint import Endpoint, key_in, models_listed
from align.evaluate.gateway import LAB_PROMPT, USUAL_PROMPT, Gateway, GatewayFailed
from align.evaluate.recipe import MINI, Benchmark, Evaluated, Evaluation, Place
from align.manifest import file_digest
from align.mini.trained import BASE_ADAPTER, TOWER
from align.recipe import digest_of
from align.stages.base_model import build_mini_base, check_weights
from align.train.bases import kind_of
from align.train.errors import TrainingFailed
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE, Manifest, model_config_digest, read_bundle
from policies.catalog import load_catalog

Serve = Callable[..., AbstractContextManager[Gateway]]
_BASE_ALIAS = "base"
"""What the gateway and its engine call a base model."""
_FORMAT = "think"
"""What the base of a family that is not known here is taken to write."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where a model answers."""

    api: Endpoint
    engine: Endpoint | None = None
    """Of the engine behind our gateway; None behind somebody else's endpoint."""


class Engines:
    """The models of one recipe, and what serves them."""

    def __init__(self, recipe: Evaluation, out: Path, serve: Serve) -> None:
        """`serve` starts a gateway, as `align.evaluate.gateway.served` does."""
        self._recipe = recipe
        self._out = out
        self._serve = serve
        self.manifests: dict[str, Manifest] = {
            model.name: read_bundle(model.bundle) for model in recipe.models if model.bundle
        }
        self._check()

    def served_as(self, model: Evaluated) -> str:
        """Which weights answer, for readers."""
        if model.base_url is not None:
            return f"{model.model} at {model.base_url}"
        manifest = self.manifests.get(model.name)
        if manifest is None:
            return f"{Path(str(self._recipe.base)).name}@{self._base_digest[:12]}"
        return f"{manifest.served_name}, merged" if self._recipe.merged else manifest.served_name

    def reasoning_format(self, model: Evaluated, benchmark: Benchmark) -> str:
        """What a benchmark reads a model's replies in: what its parameters or the bundle say."""
        given = benchmark.parameters.get("reasoning_format")
        return str(given) if given else self._format(model)

    def engine_name(self, model: Evaluated) -> str:
        """What the engine calls a model that is served for the recipe."""
        manifest = None if self._recipe.merged else self.manifests.get(model.name)
        return manifest.served_name if manifest else _BASE_ALIAS

    def weights(self, model: Evaluated) -> dict[str, str | None]:
        """The digests of a local model's parts; without a bundle it is the base alone."""
        manifest = self.manifests.get(model.name)
        return {"base": self._base_digest, "adapter": manifest.digest if manifest else None}

    def digest(self, model: Evaluated, judged: bool) -> str:
        """SHA-256 over all that decides a model's replies and their marks, less the benchmark itself."""
        asking = self._recipe.asking(judged) | {"policies": self._policies_digest}
        if model.base_url is not None:
            return digest_of(asking | model.model_dump(mode="json", include=set(Place.model_fields)))
        return digest_of(asking | self.weights(model) | {"merged": self._recipe.merged})

    def groups(self, models: Sequence[Evaluated]) -> Iterator[tuple[Evaluated, ...]]:
        """Those that are served at the same time, in the recipe's order."""
        local = tuple(model for model in models if model.base_url is None)
        if self._recipe.merged:
            yield from ((model,) for model in models)
            return
        if local:
            yield local
        yield from ((model,) for model in models if model.base_url is not None)

    @contextmanager
    def serving(self, group: Sequence[Evaluated]) -> Iterator[dict[str, Served]]:
        """Where one group's models answer, by their names; StageAborted where no gateway comes up."""
        if all(model.base_url for model in group):
            yield {model.name: Served(endpoint_of(f"models.{model.name}", model)) for model in group}
            return
        weights, bundles = self._weights(group)
        folder = self._out / "served" / (group[0].name if self._recipe.merged else "together")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            pace = self._recipe.pace
            given = {
                "policies": self._recipe.policy_documents,
                "max_model_len": (pace.prompt_tokens or self._usual_prompt) + pace.max_tokens,
                "reasoning_format": self._format(group[0]) if self._recipe.merged else self._base_format,
            }
            with self._serve(weights, bundles, folder, **given) as gateway:
                yield {model.name: self._served(model, gateway) for model in group}
        except GatewayFailed as error:
            raise StageAborted(f"evaluate: {error}") from error

    def base_directory(self) -> Path:
        """Where the base model lies; the lab's is built where it is not there."""
        if self._recipe.base != MINI:
            return Path(str(self._recipe.base))
        build_mini_base(self._out / "base")
        return self._out / "base"

    def _served(self, model: Evaluated, gateway: Gateway) -> Served:
        manifest = None if self._recipe.merged else self.manifests.get(model.name)
        name = manifest.name if manifest else _BASE_ALIAS
        return Served(Endpoint(gateway.api, name), Endpoint(gateway.engine, self.engine_name(model)))

    def _format(self, model: Evaluated) -> str:
        manifest = self.manifests.get(model.name)
        if manifest is None:
            return _FORMAT if model.base_url else self._base_format
        return manifest.reasoning_format

    @cached_property
    def _base_format(self) -> str:
        """What the base writes: what its adapters were trained in, else what its family does."""
        trained = {manifest.reasoning_format for manifest in self.manifests.values()}
        if len(trained) == 1:
            return trained.pop()
        try:
            return (
                _FORMAT
                if self._recipe.base == MINI
                else kind_of(Path(str(self._recipe.base))).reasoning_format
            )
        except TrainingFailed:  # of no family that we train
            return _FORMAT

    @property
    def _usual_prompt(self) -> int:
        return LAB_PROMPT if self._recipe.base == MINI else USUAL_PROMPT

    def _weights(self, group: Sequence[Evaluated]) -> tuple[Path, list[Path]]:
        base = self.base_directory()
        for model in group:
            self._check_base(model, base)
        if not self._recipe.merged:
            return base, [model.bundle for model in group if model.bundle]
        (model,) = group
        return (self._merged(base, model) if model.bundle else base), []

    def _merged(self, base: Path, model: Evaluated) -> Path:
        """The base with a bundle's adapter in its weights, made once for each pair of them."""
        from align.train.bundle import write_merged  # imports torch

        assert model.bundle is not None
        digest = digest_of([self._base_digest, self.manifests[model.name].digest])
        directory = self._out / "merged" / f"{model.name}-{digest[:12]}"
        if not directory.exists():
            write_merged(base, model.bundle, directory)
        return directory

    @cached_property
    def _policies_digest(self) -> str:
        """Of the documents in force, be they the packaged ones: they decide steering and citations' marks."""
        return load_catalog(self._recipe.policy_documents).digest

    @cached_property
    def _base_digest(self) -> str:
        if self._recipe.base == MINI:
            files = [TOWER, BASE_ADAPTER / CONFIG_FILE, BASE_ADAPTER / WEIGHTS_FILE]
        else:
            folder = Path(str(self._recipe.base))
            files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".md")
        return digest_of({path.name: file_digest(path) for path in files})

    def _check(self) -> None:
        """RecipeError, before any work, for what no gateway could serve."""
        local = [model for model in self._recipe.models if model.base_url is None]
        if not local:
            return
        base = self._recipe.base
        if base == MINI:
            check_weights()
        elif not (Path(str(base)) / "config.json").is_file():
            raise RecipeError(f"base = {base!r}: no config.json there, so it is not a model directory")
        if not self._recipe.merged:
            self._check_names()

    def _check_names(self) -> None:
        holders: dict[str, str] = {}
        for name, manifest in self.manifests.items():
            holder = holders.setdefault(manifest.name, name)
            if holder != name:
                raise RecipeError(
                    f"models.{name}: its bundle is called {manifest.name!r} like that of {holder}, so one "
                    "gateway cannot serve both: give merged = true, or train it under another name"
                )

    def _check_base(self, model: Evaluated, base: Path) -> None:
        manifest = self.manifests.get(model.name)
        if manifest and manifest.base.config_digest != model_config_digest(base):
            raise RecipeError(
                f"models.{model.name}: its bundle was trained on another base model ({manifest.base.id}) "
                f"than {self._recipe.base!r}"
            )


def endpoint_of(where: str, place: Place) -> Endpoint:
    """An endpoint that answers; RecipeError where nothing does, or where the key is missing or refused."""
    key = key_in(place.api_key_env, f"{where}.api_key_env")
    models_listed(where, str(place.base_url), key)
    return Endpoint(str(place.base_url), str(place.model), key, place.extra_body)
