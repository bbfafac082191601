"""What of a clinical note is text: placeholders and signatures go, the published spelling is kept or not."""

import pyarrow as pa
import pytest

from sklar.mimic import COMPAT, STRICT
from sklar.mimic.notes.text import clean

RULES = {"compat": COMPAT, "strict": STRICT}

# text: name of the fact, the note, compat, strict
TEXTS = {
    "a placeholder goes": ("Seen by [**Known lastname 123**] today.", "seen by today.", "Seen by today."),
    "a placeholder over lines goes": ("On [**2101-\n1-1**] seen.", "on seen.", "On seen."),
    "underscores go": ("Name: ___ Age: ___", "name: age:", "Name: Age:"),
    "white space is one space": ("\n  One\n\n\ttwo  ", "one two", "One two"),
    "a radiologist's signature ends it": ("Clear.\n     DR. Smith", "clear.", "Clear."),
    "a name in the text does not": (
        "Clear.\n DR. Smith agrees",
        "clear. dr. smith agrees",
        "Clear. DR. Smith agrees",
    ),
    "a placeholder before the title counts as space": ("Clear.\n[**Name**]DR. X", "clear.", "Clear."),
    "an electronic signature ends it": (
        "Clear.\nThis was Electronically Signed On Monday\nmore",
        "clear.",
        "Clear.",
    ),
    "the signing formula ends it": ("Clear. By electronically signing this report, I", "clear.", "Clear."),
    "a telephone line ends it": ("Clear.   RADLINE 123", "clear.", "Clear."),
    "what a printer adds ends it": ("Clear. M[0KM[0Kx", "clear.", "Clear."),
    "a printer's small letters are none": ("Clear. m[0km[0k", "clear. m[0km[0k", "Clear. m[0km[0k"),
    "the first ending counts": ("One. RADLINE 1\n   DR. B", "one.", "One."),
    "a contraction is divided": ("Don't, can't, cannot", "do n't, ca n't, can not", "Don't, can't, cannot"),
    "quotation marks open and close": ('Said "no".', "said `` no '' .", 'Said "no".'),
    "slang is divided": ("Gonna lemme 'tis", "gon na lem me 't is", "Gonna lemme 'tis"),
    "nothing is left": ("[**Name**]", "", ""),
}


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("fact", TEXTS)
def test_a_note_is_cleaned(fact, rules):
    note, *wanted = TEXTS[fact]
    assert clean(pa.array([note]), RULES[rules]).to_pylist() == [wanted[list(RULES).index(rules)]]
