"""The page of a report, from synthetic run folders."""

import json
import re
from html.parser import HTMLParser

import pytest

from run_folders import cohort, description, write_run, write_runs
from sklar.errors import DataError, UserError
from sklar.report import compare_runs, write


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
    parts = "cohort presence results curves calibration patterns training copula examples limits"
    for part in (*parts.split(), "configuration"):
        assert part in page.ids
    assert page.tags.count("svg") == 8


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


def test_best_value_is_bold_in_the_page(html, results):
    assert f"<b>{results.rows[0].estimates['auroc'].value:.3f}</b>" in html


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
    figure = re.search(r'aria-label="Training curves".*?</figure>', text, re.DOTALL)
    assert "<use" in figure.group()
