"""Settings of Sphinx; `make docs` renders what docs/pages.py wrote."""

import re

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

project = "wyk"
html_title = "wyk"
html_theme = "furo"  # nothing of it is fetched, neither at build nor when read
html_copy_source = html_show_copyright = False
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"  # which browsers draw by themselves

default_role = "py:obj"  # `name` in a docstring: a link where there is one, else code
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # paths by their names
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_numpy_docstring = False


def setup(app: Sphinx) -> None:
    """Has formulas drawn as MathML, and docstrings read as the plain text that they are."""
    app.connect("autodoc-process-docstring", _plain, priority=400)  # before napoleon adds markup
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


def _plain(app, what, name, thing, options, lines: list[str]) -> None:
    """In a docstring `code` is markup, a star or a bar is none, and what is returned has no type before a colon."""
    code_or_sign = r"(`+[^`]+`+)|([*|])"
    lines[:] = [
        ":returns:"
        if line == "Returns:"
        else re.sub(code_or_sign, lambda m: m[1] or rf"\{m[2]}", line)
        for line in lines
    ]


def _inline(writer, node) -> None:
    writer.body.append(tex2mathml(node.astext()))
    raise SkipNode


def _block(writer, node) -> None:
    formula = tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div style="overflow-x: auto">{formula}</div>')  # on a phone
    raise SkipNode
