"""A program: greedy tokens of real vLLM on the CPU, one process per base model.

    python vllm_tokens.py requests.json

Each request names a base directory, a LoRA directory, a prompt, a picture, and the file that its tokens
go to. vLLM is imported once, which is most of its start, and every process is a fork of the importing one.
A process that fails leaves no file; its fault is on standard error.
"""

import gc
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": str(min(os.sched_getaffinity(0))),
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}


def generate(request: dict[str, Any]) -> None:
    """Load the base model, answer the request with the bare base and with the adapter, write both down."""
    from PIL import Image
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    engine = LLM(
        model=request["base"],
        dtype="float32",
        enforce_eager=True,
        max_model_len=512,
        max_num_batched_tokens=512,
        max_num_seqs=1,
        limit_mm_per_prompt={"image": 1, "video": 0},
        enable_lora=True,
        max_loras=1,
        max_lora_rank=8,
    )
    prompt = {"prompt": request["prompt"], "multi_modal_data": {"image": Image.open(request["picture"])}}
    greedy = SamplingParams(temperature=0, max_tokens=request["tokens"])
    written = {}
    for name, lora in (("base", None), ("adapter", LoRARequest("adapter", 1, request["adapter"]))):
        (output,) = engine.generate(prompt, greedy, lora_request=lora, use_tqdm=False)
        written[name] = list(output.outputs[0].token_ids)
    Path(request["out"]).write_text(json.dumps(written))


def import_vllm(bases: list[str]) -> None:
    """Import the engine and the models' classes, here and so in every fork."""
    from vllm import LLM, ModelRegistry  # noqa: F401

    for base in bases:
        (architecture,) = json.loads((Path(base) / "config.json").read_text())["architectures"]
        # Known by its class, a model is not looked at in another process that would import vLLM again.
        ModelRegistry.register_model(architecture, ModelRegistry.models[architecture].load_model_cls())


def main() -> None:
    """Answer each request in a fork, one after the other."""
    os.environ.update(ENVIRONMENT)
    requests = json.loads(Path(sys.argv[1]).read_text())
    import_vllm([request["base"] for request in requests])
    gc.freeze()  # vLLM collects garbage at every turn; what was imported is none
    for request in requests:
        process = multiprocessing.get_context("fork").Process(target=generate, args=(request,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
