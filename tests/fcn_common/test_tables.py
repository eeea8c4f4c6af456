import pytest

from fcn_common import tables

ROWS = [["a|b", 1], ["c", 22.5]]


def test_markdown_columns_are_padded_and_numbers_are_set_to_the_right():
    assert tables.markdown(["net", "IU"], ROWS) == [
        "| net  |   IU |",
        "|------|-----:|",
        "| a\\|b |    1 |",
        "| c    | 22.5 |",
    ]


def test_markdown_can_be_written_without_padding():
    assert tables.markdown(["net", "IU"], ROWS, right=[True, False], padded=False) == [
        "| net | IU |",
        "| ---: | --- |",
        "| a\\|b | 1 |",
        "| c | 22.5 |",
    ]


def test_plain_text_has_no_rules_and_no_space_at_the_end():
    assert tables.plain(["net", "x"], [["a", "1"], ["long", ""]]) == ["net   x", "a     1", "long"]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="has 1 cells, needs 2"):
        tables.markdown(["a", "b"], [["a"]])


def test_a_table_without_rows_is_its_head():
    assert len(tables.markdown(["a", "b"], [])) == 2
