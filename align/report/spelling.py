"""How the report writes numbers and times, and how it shows text that nobody vouches for.

Escaping for HTML is the template's; here is what escaping leaves: length, and what cannot be seen.
"""

import unicodedata

from align.teacher.tally import NOT_PRICED

LABEL_LENGTH = 60
DETAIL_LENGTH = 200
TEXT_LENGTH = 1500
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories without a visible form: controls, zero-width and direction marks, lone surrogates."""


def number(value: int) -> str:
    """With thousands separators."""
    return f"{value:,}"


def percent(share: float) -> str:
    """One decimal; never rounded to all or nothing where it is neither."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Seconds in the units that a person would use."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def money(amount: float | None, currency: str) -> str:
    """None is the price of models that have none: unknown, and not nothing."""
    if amount is None:
        return NOT_PRICED
    return f"under 0.01 {currency}" if 0 < amount < 0.01 else f"{amount:,.2f} {currency}"


def visible(text: str) -> str:
    """The text with what cannot be seen spelled out, as ⟨U+200B⟩; line breaks and tabs stay."""
    return "".join(char if char in "\n\t" or _is_seen(char) else f"⟨U+{ord(char):04X}⟩" for char in text)


def _is_seen(char: str) -> bool:
    return unicodedata.category(char) not in _UNSEEN


def shortened(text: str, length: int = TEXT_LENGTH) -> str:
    """The text's visible beginning; says how long the whole is where it is longer."""
    if len(text) <= length:
        return visible(text)
    return f"{visible(text[:length])}… ({number(len(text))} characters in all)"


def label(text: str) -> str:
    """A name in one line."""
    return visible(" ".join(text[:LABEL_LENGTH].split())) + ("…" if len(text) > LABEL_LENGTH else "")
