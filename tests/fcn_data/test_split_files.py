import pytest

from fcn_data.split_files import read_ids


@pytest.fixture
def split(tmp_path):
    def write(content):
        (tmp_path / "train.txt").write_bytes(content)
        return str(tmp_path / "train.txt")

    return write


def test_an_id_is_a_line_and_may_contain_spaces(split):
    assert read_ids(split(b"a\nb c\r\n\n  d  \ne")) == ["a", "b c", "d", "e"]


def test_a_byte_order_mark_is_not_part_of_the_first_id(split):
    assert read_ids(split(b"\xef\xbb\xbfa\nb\n")) == ["a", "b"]


def test_ids_are_utf8(split):
    assert read_ids(split("äö\n".encode())) == ["äö"]
    with pytest.raises(ValueError, match=r"train\.txt: is not a UTF-8 text file"):
        read_ids(split("äö\n".encode("utf-16")))


def test_a_missing_or_empty_file_is_refused(split, tmp_path):
    with pytest.raises(OSError, match=r"none\.txt: no such split file"):
        read_ids(str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match=r"train\.txt: is empty"):
        read_ids(split(b"\n \n"))
