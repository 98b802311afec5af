"""The Sphinx configuration; ``nox -s docs`` builds the documentation."""

from __future__ import annotations

import reinhardt_backends

project = "reinhardt-backends"
author = "The reinhardt-backends contributors"
project_copyright = f"2026, {author}"
release = version = reinhardt_backends.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"{project} {release}"
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
