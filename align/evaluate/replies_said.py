"""Replies that a model gave, to be measured afterwards: from JSONL or from an Inspect log.

A line of JSONL holds `id`, the conversation (`messages` in OpenAI's form, or `instruction` and `image`: a
data URL, or a path that starts from the file's directory) and the reply: `text` as the model wrote it, or
`reasoning` and `answer`, from which the text is written anew in the model's format. Knows no engine.
"""

import base64
import io
import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from align.errors import RecipeError
from align.evaluate.reply import is_error, reply_of
from policies.formats import THINK, ReasoningFormat
from policies.prompt import student_messages
from policies.render import RenderError, render
from policies.reply import Trace
from policies.trace import read

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ModelOutput

Message = Mapping[str, Any]


class CannotBlank(ValueError):
    """There is no picture here that could be blanked."""


@dataclass(frozen=True, slots=True)
class Said:
    """One reply and what it replied to."""

    id: str
    messages: tuple[Message, ...]
    text: str | None
    """As the model wrote it, tags and all; None where nothing came, or where that cannot be told any more."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    messages: list[dict[str, Any]] | None = None
    instruction: str | None = None
    image: str | None = None
    text: str | None = None
    reasoning: str | None = None
    answer: str | None = None

    @model_validator(mode="after")
    def _says_enough(self) -> "_Line":
        if self.messages is None and (self.instruction is None or self.image is None):
            raise ValueError("give messages, or instruction and image")
        if self.text is None and self.reasoning is None:
            raise ValueError("give text, or reasoning and answer")
        return self


def replies_of(path: Path, form: ReasoningFormat) -> list[Said]:
    """Every reply of a `.jsonl` or an Inspect log (`.eval`, `.json`); RecipeError where it is neither."""
    if not path.is_file():
        raise RecipeError(f"{path} is no file: give the replies that are to be measured")
    found = list(_lines(path, form) if path.suffix == ".jsonl" else _logged(path, form))
    if not found:
        raise RecipeError(f"{path} holds no replies: there is nothing to measure")
    return found


def said_in(sample: "EvalSample", form: ReasoningFormat) -> Said:
    """The reply of one sample of an Inspect log, its pictures in it."""
    return Said(f"{sample.id}:{sample.epoch}", tuple(_asked(sample.input)), _text_of(sample.output, form))


def rewritten(reasoning: str, answer: str, form: ReasoningFormat) -> str | None:
    """The text of a reply whose tags were taken off; None where its trace does not tell."""
    opening, closing = THINK.reasoning[0].opening, THINK.reasoning[0].closing
    # No clauses: which citations are valid is not written down.
    return _written(read(f"{opening}\n{reasoning}\n{closing}\n{answer}", THINK, {}), form)


def blanked(messages: Sequence[Message]) -> list[Message]:
    """The same conversation with every picture replaced by plain grey: its own size and mean brightness."""
    if not any(_is_picture(part) for message in messages for part in _parts(message)):
        raise CannotBlank("no picture")
    return [_without_pictures(message) for message in messages]


def _without_pictures(message: Message) -> Message:
    if not (parts := _parts(message)):
        return message
    return {**message, "content": [_blank(part) if _is_picture(part) else part for part in parts]}


def _parts(message: Message) -> Sequence[Message]:
    content = message.get("content")
    return content if isinstance(content, list) else ()


def _is_picture(part: Message) -> bool:
    return part.get("type") == "image_url"


def _blank(part: Message) -> Message:
    return {"type": "image_url", "image_url": {"url": _grey(part["image_url"]["url"])}}


def _grey(url: str) -> str:
    from PIL import Image, ImageStat, UnidentifiedImageError

    head, _, data = url.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64"):
        raise CannotBlank("a picture that is no data: URL")
    try:
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            level = round(ImageStat.Stat(picture.convert("L")).mean[0])
            blank = Image.new("RGB", picture.size, (level, level, level))
    except (ValueError, OSError, UnidentifiedImageError, Image.DecompressionBombError):
        raise CannotBlank("a picture that cannot be read") from None
    out = io.BytesIO()
    blank.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _written(trace: Trace, form: ReasoningFormat) -> str | None:
    try:
        return render(trace, form)
    except RenderError:
        return None


def _lines(path: Path, form: ReasoningFormat) -> Iterator[Said]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            one = _Line.model_validate_json(line)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"])) or "line"
            raise RecipeError(f"{path}:{number}: {place}: {fault['msg']}") from None
        text = rewritten(one.reasoning or "", one.answer or "", form) if one.text is None else one.text
        yield Said(one.id, tuple(_conversation(one, path.parent)), text)


def _conversation(one: _Line, directory: Path) -> Sequence[Message]:
    if one.messages is not None:
        return one.messages
    url = one.image or ""
    if not url.startswith("data:"):
        url = _data_url(directory / url)
    return student_messages(one.instruction or "", [{"type": "image_url", "image_url": {"url": url}}])


def _data_url(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    try:
        return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}: the picture of a reply is not there") from None


def _logged(path: Path, form: ReasoningFormat) -> Iterator[Said]:
    from inspect_ai.log import read_eval_log

    try:
        log = read_eval_log(str(path), resolve_attachments=True, exclude_fields={"events", "store"})
    except (ValueError, OSError, KeyError) as error:
        raise RecipeError(
            f"{path} is no log of Inspect ({type(error).__name__}): give .jsonl or .eval"
        ) from None
    yield from (said_in(sample, form) for sample in log.samples or ())


def _asked(given: Any) -> Iterator[Message]:
    if isinstance(given, str):
        yield {"role": "user", "content": given}
        return
    for message in given:
        content = message.content
        parts = content if isinstance(content, str) else [_part(part) for part in content]
        yield {"role": message.role, "content": parts}


def _part(part: Any) -> dict[str, Any]:
    if part.type == "image":
        return {"type": "image_url", "image_url": {"url": part.image}}
    return {"type": "text", "text": part.text}


def _text_of(output: "ModelOutput", form: ReasoningFormat) -> str | None:
    """As written where the log has it so; where Inspect took the reasoning out, written anew.

    What a gateway said in place of a withheld answer is not the model's.
    """
    if output.empty or is_error(output) or output.stop_reason == "content_filter":
        return None
    content = output.message.content
    return content if isinstance(content, str) else _written(reply_of(output, form, {}).trace, form)
