"""Values in templates are escaped in every file format."""

from __future__ import annotations

import pytest

from snnlab.runs.tables import Table, latex, markdown, render


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b 5% & $x #1", r"a\_b 5\% \& \$x \#1"),
        ("{x}~^", r"\{x\}\textasciitilde{}\textasciicircum{}"),
        ("\\input{a}", r"\textbackslash{}input\{a\}"),
        ("[1] <2>", r"{[}1{]} \textless{}2\textgreater{}"),
        ("0.9 ± 0.1 ≈", r"0.9 $\pm$ 0.1 $\approx$"),
    ],
)
def test_signs_of_latex_are_escaped(text: str, expected: str):
    assert latex(text) == expected


# Texts that pandas' to_latex and to_markdown do not escape.
@pytest.mark.parametrize(
    ("text", "in_latex", "in_markdown"),
    [
        ("[lif]", "{[}lif{]}", r"\[lif\]"),  # after the \\\\ of the row above it would be an argument
        ("x|y", r"x\textbar{}y", r"x\|y"),  # two cells
        ("1 ± 2 ≈", r"1 $\pm$ 2 $\approx$", "1 ± 2 ≈"),
        ("<b>a_b*</b>", r"\textless{}b\textgreater{}a\_b*\textless{}/b\textgreater{}", r"\<b>a\_b\*\</b>"),
        ("two\nlines", "two lines", "two lines"),
    ],
)
def test_texts_that_a_table_library_does_not_escape_are_escaped(text: str, in_latex: str, in_markdown: str) -> None:
    assert (latex(text), markdown(text)) == (in_latex, in_markdown)
    table = Table(("method", "value"), [("a", "1"), (text, "2")], "title", faint=(1,))
    tex = render("table.tex", t=table)
    assert rf"\textcolor{{gray}}{{{in_latex}}} & \textcolor{{gray}}{{2}} \\" in tex
    assert [line.count(" & ") for line in tex.splitlines() if line.endswith(r"\\")] == [1, 1, 1]
    assert f"| *{in_markdown}* | *2* |" in render("table.md", t=table)


def test_a_page_escapes_markup_in_values() -> None:
    text = render("page.html", title="<script>", subtitle="a & b")
    assert "<h1>&lt;script&gt;</h1>" in text
    assert "a &amp; b" in text
