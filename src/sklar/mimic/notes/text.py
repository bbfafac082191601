"""Clinical notes as text: what is no text taken out, in expressions over whole columns."""

import pyarrow as pa
import pyarrow.compute as pc

from sklar.mimic.rules import Rules

REMOVED = r"(?s)\[\*\*.*?\*\*\]"
"""What stands for a name, a date or a place."""

SIGNATURE = (
    r"(?s)((?i)by electronically signing this report|\n {3,}dr\.| +radline |[^\n]*electronically signed on"
    r"|(?-i)M\[0KM\[0K).*"
)
"""Where a note ends: whoever signs it, and what a printer adds."""

TREEBANK = (
    (r"(^|[\s(\[{<])\"", r"\1 `` "),
    (r"\"", " '' "),
    (r"(?i)([a-z])(n't)\b", r"\1 \2"),
    (r"(?i)\b(can)(not)\b", r"\1 \2"),
    (r"(?i)\b(d)('ye)\b", r"\1 \2"),
    (r"(?i)\b(gim|lem)(me)\b", r"\1 \2"),
    (r"(?i)\b(gon|wan)(na)\b", r"\1 \2"),
    (r"(?i)\b(got)(ta)\b", r"\1 \2"),
    (r"(?i)\b(more)('n)\b", r"\1 \2"),
    (r"(?i)(^|\s)('t)(is|was)\b", r"\1\2 \3"),
)
"""What a Penn Treebank tokenizer does that a BERT tokenizer, which splits all punctuation, does not undo."""


def clean(notes: pa.Array, rules: Rules) -> pa.Array:
    """(N,) notes without placeholders, underscores, signatures and needless space.

    The published code also divides notes at the titles of radiology reports and into sentences, which
    changes no token of a BERT tokenizer and is left out.
    """
    # as wide as a placeholder at least, because a signature is known by the space before it
    text = pc.replace_substring_regex(notes, REMOVED, " " * len("[****]"))
    text = pc.replace_substring(text, "_", " ")
    text = pc.replace_substring_regex(text, SIGNATURE, "")
    if rules.note_text == "treebank":
        for pattern, replacement in TREEBANK:
            text = pc.replace_substring_regex(text, pattern, replacement)
        text = pc.utf8_lower(text)
    return single_spaced(text)


def single_spaced(texts: pa.Array) -> pa.Array:
    """Texts with every stretch of white space as one space, and none at the ends."""
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"\s+", " "))
