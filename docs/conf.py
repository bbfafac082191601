"""The documentation site: `make docs`. Everything that it shows is computed, or read from the library."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from sklar import __version__

project = "sklar"
author = "The sklar developers"
copyright = author  # noqa: A001  the name that Sphinx reads
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "execute",
    "generated",
    "mathml",
]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"sklar {release}"
html_static_path = ["_static"]
html_css_files = ["sklar.css"]
html_math_renderer = "mathml"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_url_schemes = ("http", "https")

default_role = "py:obj"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "member-order": "bysource",
    "no-value": True,
    "exclude-members": "model_config,training,support,arg_constraints,has_rsample",
}
autodoc_class_signature = "mixed"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature has the types
# a class that several packages export has several places; the first of them is as good
suppress_warnings = ["ref.python"]
