"""Replies with a part of the grammar taken out, for ablations: the source tags, or the citations."""

import re

from policies.reply import CITATION, Source

_SOURCE_TAG = re.compile(rf"^\[(?:{'|'.join(re.escape(source) for source in Source)})\] ", re.MULTILINE)
_CITED = re.compile(rf" ?{CITATION.pattern}")


def source_tags(reply: str) -> str:
    """The reply without `[visual] ` and such before its steps."""
    return _SOURCE_TAG.sub("", reply)


def citations(reply: str) -> str:
    """The reply without `[P19.D2]` and such, behind steps and behind the verdict."""
    return _CITED.sub("", reply)
