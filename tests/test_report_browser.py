"""The page in a real browser."""

import pytest

from browser import Browser, browser, missing
from outcomes import several
from run_folders import write_runs
from sklar import runs
from sklar.report import write, write_outputs
from sklar.training.config import resolve
from sklar.training.reference import REFERENCES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write(write_runs(folder), folder / "report.html", resamples=50)
    return folder / "report.html"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The page of a run that predicts three classes."""
    folder = tmp_path_factory.mktemp("outputs")
    data = several(folder / "data", "multiclass", rows=400)
    paths = [runs.train(resolve(name), data, folder / name).path for name in REFERENCES]
    write_outputs(paths, folder / "report.html", "logistic_regression", resamples=50)
    return folder / "report.html"


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile") / "new") as opened:
        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_overflows_and_nothing_is_fetched(window: Browser, page, width, scheme):
    window.requests()  # of the window's own first page
    window.emulate(width, 800, scheme)
    window.open(page)
    assert window.evaluate("return document.documentElement.scrollWidth") <= width
    assert window.evaluate("return matchMedia('(prefers-color-scheme: dark)').matches") is (scheme == "dark")
    assert window.requests() == [page.as_uri()]


@pytest.mark.parametrize("width", [1280, 360])
def test_a_page_of_several_outputs_fits_too(window: Browser, outputs, width):
    window.requests()
    window.emulate(width, 800, "light")
    window.open(outputs)
    assert window.evaluate("return document.documentElement.scrollWidth") <= width
    assert window.requests() == [outputs.as_uri()]
    drawn = window.evaluate(
        "return [...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().height)"
    )
    assert len(drawn) > 20
    assert min(drawn) > 50


@pytest.mark.parametrize("name", ["page", "outputs"])
def test_no_table_scrolls_on_a_screen(window: Browser, name, request):
    window.emulate(1280, 800, "light")
    window.open(request.getfixturevalue(name))
    scrolled = window.evaluate(
        "return [...document.querySelectorAll('.wide')].map(e => e.scrollWidth - e.clientWidth)"
    )
    assert len(scrolled) > 5
    assert max(scrolled) == 0


def test_type_in_figures_can_be_read_on_a_phone(window: Browser, page):
    window.emulate(360, 800, "light")
    window.open(page)
    sizes = window.evaluate(
        "return [...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert len(sizes) > 100
    assert min(sizes) > 7


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(window: Browser, page, scheme):
    window.emulate(1280, 800, scheme)
    window.open(page)
    contrast = window.evaluate("""
        const light = colour => {
          const [r, g, b] = colour.match(/[\\d.]+/g).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const paper = light(getComputedStyle(document.body).backgroundColor);
        return [...document.querySelectorAll('p, td, th, li, figcaption, svg text')].map(e => {
          const style = getComputedStyle(e);
          const own = light(e.tagName == 'text' ? style.fill : style.color);
          return (Math.max(own, paper) + 0.05) / (Math.min(own, paper) + 0.05);
        });
    """)
    assert len(contrast) > 100
    assert min(contrast) >= 4.5  # WCAG 2.1, level AA
