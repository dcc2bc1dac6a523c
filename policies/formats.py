"""How each family of reasoning models delimits its reasoning: the only place where these tags are spelled.

A format is data. The reader, the renderer and the grammar all work from it, so a model cannot be
trained with one spelling and parsed with another. What stands between the tags is `policies.trace`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a reply between two tags."""

    opening: str
    closing: str


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """The delimiters of one family of models.

    Where a reply does not keep to them:
    a reply that does not begin with a tag is all answer, unless the format is prefilled, and then it is
    all reasoning; reasoning that never closes leaves the answer empty; text between two sections is
    reasoning; a tag out of its place is ordinary text. The reader flags each of these.
    """

    name: str
    reasoning: tuple[Section, ...]
    """In order. The reasoning ends where the last of them closes, or where the answer's wrapper opens."""
    answer: Section | None = None
    """A wrapper that may stand around the answer; it is withheld."""
    wraps_answer: bool = False
    """Whether models of this family are trained to write that wrapper."""
    markers: tuple[str, ...] = ()
    """Tags inside an answer that are withheld and mean nothing to us."""
    prefilled: bool = False
    """The chat template ends with the opening tag, so a reply starts inside the reasoning."""

    @property
    def delimiters(self) -> tuple[str, ...]:
        """Every tag of this format; none of them is contained in another."""
        sections = (*self.reasoning, self.answer) if self.answer else self.reasoning
        return (*(tag for section in sections for tag in (section.opening, section.closing)), *self.markers)


_THINK = Section("<think>", "</think>")
_ANSWER = Section("<answer>", "</answer>")

THINK = ReasoningFormat("think", (_THINK,), _ANSWER)

_ALL = (
    THINK,  # R1-Onevision, MiMo-VL, and the mini lab
    ReasoningFormat("think_prefilled", (_THINK,), _ANSWER, prefilled=True),  # Qwen3-VL-Thinking
    ReasoningFormat(
        "llava_cot",
        (
            Section("<SUMMARY>", "</SUMMARY>"),
            Section("<CAPTION>", "</CAPTION>"),
            Section("<REASONING>", "</REASONING>"),
        ),
        Section("<CONCLUSION>", "</CONCLUSION>"),
        wraps_answer=True,
    ),
    ReasoningFormat("kimi_triangle", (Section("◁think▷", "◁/think▷"),)),  # Kimi-VL
    ReasoningFormat(  # GLM-4.1V-Thinking, GLM-4.5V
        "glm_box", (_THINK,), _ANSWER, wraps_answer=True, markers=("<|begin_of_box|>", "<|end_of_box|>")
    ),
    ReasoningFormat("gemma_channel", (Section("<|channel>thought\n", "<channel|>"),)),  # Gemma 4
)

FORMATS: Mapping[str, ReasoningFormat] = MappingProxyType({format_.name: format_ for format_ in _ALL})
"""Every known format by name; the name is what an adapter's manifest carries."""
