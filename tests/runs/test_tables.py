"""Tables on the console and as CSV."""

from __future__ import annotations

import pytest

from snnlab.runs.tables import Table, csv_text


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_on_a_narrow_console_columns_move_below_and_no_number_is_wrapped(width: int):
    head = [
        "#",
        "method",
        "test accuracy (%)",
        "spikes / sample",
        *[f"operations / step {n}" for n in range(6)],
        "flags",
    ]
    row = ["1", "linear_counts (baseline)", "50.6 ± 9.7", "1,234,567", *["40.5 k"] * 6, "a long remark " * 4]
    found = Table(head, [row], "digits", [1, 10], [10]).sub_tables(width)
    assert [text for sub_table, _ in found for text in sub_table.head if text not in head[:2]] == head[2:]
    assert all(sub_table.head[:2] == head[:2] and sub_table.rows[0][:2] == row[:2] for sub_table, _ in found)
    assert [sub_table.title for sub_table, _ in found] == ["digits", *[""] * (len(found) - 1)]
    for sub_table, widths in found:
        assert sum(widths) + 3 * len(widths) + 1 <= width
        numbers = [place for place in range(len(widths)) if place not in sub_table.text_columns]
        assert all(len(sub_table.rows[0][place]) <= widths[place] for place in numbers)
        assert all(len(word) <= widths[place] for place, text in enumerate(sub_table.head) for word in text.split())


def test_a_table_without_rows_is_not_printed_and_wide_letters_fit(capsys: pytest.CaptureFixture[str]) -> None:
    Table(("name", "value"), []).print()
    assert capsys.readouterr().out == ""
    Table(("class", "value"), [("手势手势手势", "1"), ("[red]", "2")]).print()
    out = capsys.readouterr().out
    assert "手势手势手势  " in out
    assert "[red]" in out


def test_a_sum_is_below_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Table(("part", "ms"), [("a", "1"), ("b", "2"), ("all", "3")], sum=True).print()
    lines = capsys.readouterr().out.split("\n")
    rows = [place for place, line in enumerate(lines) if line.split()[:1] in (["a"], ["b"], ["all"])]
    assert rows[1] == rows[0] + 1
    assert rows[2] > rows[1] + 1


def test_csv_accepts_rows_by_order_and_by_name_and_escapes_formulas() -> None:
    assert csv_text(["a", "=b"], [[1, "=c()"], ["-1.5", None]]) == "a,'=b\n1,'=c()\n-1.5,\n"
    assert csv_text(["a", "b"], [{"b": 2, "a": 1}, {"b": "@x"}]) == "a,b\n1,2\n,'@x\n"
