"""The page of a report, from synthetic run folders."""

import json
import re
from html.parser import HTMLParser

import html5lib
import pytest

from run_folders import cohort, description, write_run, write_runs
from sklar.errors import DataError, UserError
from sklar.report import compare_runs, contest_runs, write
from sklar.report.html import shareable
from sklar.report.tables import display


class Page(HTMLParser):
    """The elements of a page, its text, and everything it refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.references, self.ids = [], "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("href", "src", "xlink:href", "action", "data"):
                self.references.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def results(runs):
    return compare_runs(runs, resamples=200)


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("parent") / "new" / "report.html"
    write(runs, out, resamples=200)
    return out


@pytest.fixture(scope="module")
def html(written):
    return written.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def restricted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("restricted")
    write(
        write_runs(folder, ("cm2", "gradient_boosting"), restricted=True),
        folder / "report.html",
        resamples=20,
    )
    return (folder / "report.html").read_text(encoding="utf-8")


def test_page_shows_every_part(html):
    page = Page(html)
    parts = "cohort presence results curves calibration utility patterns training copula examples limits card"
    for part in (*parts.split(), "configuration"):
        assert part in page.ids
    # 1 of patterns, 4 and 1 forests, 2 + 2 + 1 of curves, 6 of training, 3 pairs, 4 of latents
    assert page.tags.count("svg") == 24


def test_page_describes_the_cohort(html):
    text = Page(html).text
    for fact in (
        "Synthetic liver cohort",
        "death within five years",
        "9c0ffee1d2",
        "3,000",
        "15.2%",
        "torch 2.13.0",
    ):
        assert fact in text
    assert "outcome known at five years" in text
    assert "\N{MINUS SIGN}900" in text
    assert "Ages over 89 are one group." in text


def test_page_says_where_initial_weights_came_from(html):
    text = Page(html).text
    assert "text encoder initialised from scratch" in text
    assert "series encoder initialised from series.safetensors" in text


def test_page_states_its_limits(html):
    text = Page(html).text
    assert "The imputation interval is not a confidence interval" in text
    assert "Among subjects whose outcome is known it is 15.2%" in text
    assert "is 11.3%" in text
    assert "Missing at random is an assumption" in text


def test_page_refers_to_nothing_outside_itself(html):
    page = Page(html)
    assert all(reference.startswith("#") for reference in page.references)
    assert "//" not in html
    assert not re.search(r"@import|url\((?!#)", html)
    assert not {"script", "link", "iframe", "img"} & set(page.tags)


def test_ids_of_the_page_are_unique_and_references_resolve(html):
    page = Page(html)
    assert len(set(page.ids)) == len(page.ids)
    used = {reference[1:] for reference in page.references} | set(re.findall(r"url\(#([^)]+)\)", html))
    assert used <= set(page.ids)


def test_open_data_shows_a_handful_of_rows(html):
    rows = set(re.findall(r"patient-\d{5}", html))
    assert len(rows) == 6
    assert "imputation interval" in html


def test_restricted_data_show_no_rows_and_no_ids(restricted):
    assert "examples" not in Page(restricted).ids
    assert "restricted data" in restricted
    assert not re.search(r"patient-\d|\bg\d{5}\b", restricted)


def test_restricted_data_withhold_small_counts(restricted):
    assert "n/a: too few" in restricted
    assert not re.search(r"<td>[0-4]</td>|[0-4] events, fewer than 5", restricted)


def test_one_restricted_run_restricts_the_report(tmp_path):
    rows = cohort()
    runs = [
        write_run(tmp_path / "cm2", "cm2", rows, 1),
        write_run(tmp_path / "text", "text", rows, 1, restricted=True),
    ]
    write(runs, tmp_path / "report.html", resamples=20)
    assert "patient-" not in (tmp_path / "report.html").read_text()


def test_names_from_the_data_cannot_inject_markup(tmp_path):
    folder = write_run(tmp_path / "cm2", "cm2", cohort(), 1)
    (folder / "data.json").write_text(json.dumps(description() | {"name": "<script>alert(1)</script>"}))
    write([folder], tmp_path / "report.html", resamples=20)
    assert "<script>" not in (tmp_path / "report.html").read_text()


def test_equal_runs_give_equal_pages(runs, html, tmp_path):
    write(runs, tmp_path / "again.html", resamples=200)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == html


def test_a_run_without_optional_files_is_reported(tmp_path):
    folder = write_run(tmp_path / "cm2", "cm2", cohort(), 1)
    for name in ("env.json", "weights.json", "history.csv"):
        (folder / name).unlink()
    (folder / "data.json").write_text(
        json.dumps({k: v for k, v in description().items() if k in ("name", "label", "modalities", "counts")})
    )
    write([folder], tmp_path / "report.html", resamples=20)
    page = Page((tmp_path / "report.html").read_text())
    assert "training" not in page.ids
    assert "not recorded" in page.text


def test_unfinished_run_is_refused_with_the_way_to_go_on(tmp_path):
    runs = write_runs(tmp_path, ("cm2", "text"))
    (runs[1] / "metrics.json").unlink()
    with pytest.raises(DataError, match=r"text: metrics.json missing, .* --resume"):
        write(runs, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_folder_as_output_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match=r"is a folder; name the file"):
        write(runs, tmp_path)


def test_nothing_is_left_beside_the_page(written):
    assert [path.name for path in written.parent.iterdir()] == ["report.html"]


def test_small_patterns_say_why_they_have_no_auroc(html):
    assert "n/a: 0 events, fewer than 5" in html


def test_one_epoch_is_drawn_as_a_point(tmp_path):
    folder = write_run(tmp_path / "cm2", "cm2", cohort(), 1)
    (folder / "history.csv").write_text("epoch,valid_auroc\n0,0.7\n")
    write([folder], tmp_path / "report.html", resamples=20)
    text = (tmp_path / "report.html").read_text()
    figure = re.search(r'aria-label="Validation AUROC over epochs".*?</svg>', text, re.DOTALL)
    assert "<use" in figure.group()


def test_every_figure_and_table_says_what_it_is(html):
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    figures = list(tree.iter("{http://www.w3.org/2000/svg}svg"))
    assert figures
    assert all(figure.get("aria-label") and figure.get("role") == "img" for figure in figures)
    assert tree.get("lang") == "en"
    regions = [element for element in tree.iter("div") if element.get("role") == "region"]
    names = [element.get("aria-label") for element in regions]
    assert all(names)
    assert all(element.get("tabindex") == "0" for element in regions)
    assert all(cell.get("scope") in ("col", "row") for cell in tree.iter("th"))
    order = [element.tag for element in tree.iter() if element.tag in ("h1", "h2", "h3")]
    assert order[0] == "h1"
    assert order.count("h1") == 1
    assert order[1] == "h2"


def test_bold_are_the_best_and_those_that_cannot_be_told_from_it(html, runs):
    tied = contest_runs(runs, ("auroc", "average_precision", "brier"), 200).tied["auroc"]
    table = html[html.index('id="results"') : html.index("Against the best")]
    rows = re.findall(r"<tr[^>]*><td>([^<]+)</td>\s*<td>(<b>)?", table)
    assert {name for name, bold in rows if bold} == {display(model) for model in tied}
    assert 1 < len(tied) < len(rows)


def test_a_page_that_is_safe_to_share_names_no_row_and_no_small_cell(runs, tmp_path):
    write(runs, tmp_path / "report.html", resamples=20, share_safe=True)
    text = (tmp_path / "report.html").read_text()
    assert "safe to share" in text
    assert "examples" not in Page(text).ids
    assert not re.search(r"patient-\d|\bg\d{5}\b", text)
    assert "withheld" in text
    patterns = text[text.index('id="patterns"') : text.index('id="training"')]
    counts = [int(cell) for cell in re.findall(r"<td>(\d+)</td>", patterns)]
    assert counts
    assert min(counts) >= 20


def test_steps_of_exclusion_that_tell_of_few_subjects_are_not_shared():
    steps = [
        {"step": "all", "subjects": 900, "events": 90},
        {"step": "adults", "subjects": 890, "events": 60},
    ]
    assert shareable(steps) == ()
    wider = [steps[0], {"step": "adults", "subjects": 800, "events": 60}]
    assert shareable(wider) == wider


def test_restricted_rows_are_shown_only_when_asked_for(tmp_path):
    runs = write_runs(tmp_path, ("cm2",), restricted=True)
    write(runs, tmp_path / "report.html", resamples=20, show_examples=True)
    assert len(set(re.findall(r"patient-\d{5}", (tmp_path / "report.html").read_text()))) == 6
    with pytest.raises(UserError, match="leave one of the two options out"):
        write(runs, tmp_path / "both.html", resamples=20, show_examples=True, share_safe=True)


def test_a_run_without_a_record_of_its_latents_is_reported(tmp_path):
    folder = write_run(tmp_path / "cm2", "cm2", cohort(), 1)
    (folder / "latents.json").unlink()
    write([folder], tmp_path / "report.html", resamples=20)
    text = (tmp_path / "report.html").read_text()
    assert "Fitted copula" in text
    assert "Do the latents follow it?" not in text
