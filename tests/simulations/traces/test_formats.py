"""Published formats of link traces, as small files of our own: read to the bit, and refused by line."""

from pathlib import Path

import pytest

from simulations.errors import BadTrace
from simulations.traces.formats import read_link_trace

UCC = "Timestamp,Speed,State,DL_bitrate,UL_bitrate\n"
LUMOS = "run_num,seq_num,nrStatus,Throughput\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "drive.csv"
    path.write_text(text)
    return path


def ucc(*lines: str) -> str:
    return UCC + "".join(f"2020.01.16_09.56.{line}\n" for line in lines)


def test_ucc_tells_of_what_is_downloaded_and_idle_stretches_are_cut_out(tmp_path: Path) -> None:
    seconds = ("01,3,D,1000", "02,3,D,2000", "03,3,I,0", "04,3,D,3000", "30,3,D,4000", "31,3,D,5000", "32,3,D,5000")
    text = ucc(*(f"{line},{number}" for number, line in enumerate(seconds)))
    down, cut = read_link_trace(written(tmp_path, text))
    assert down.bits_per_s.tolist() == [1e6, 2e6, 3e6, 4e6, 5e6, 5e6]
    assert (down.at_s.tolist(), down.length_s, cut) == ([0, 1, 3, 4, 5, 6], 7, 1)


def test_ucc_is_no_trace_of_the_way_up(tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match=r"drive\.csv: .*UL_bitrate is acknowledgements.* up: \{mean_mbps"):
        read_link_trace(written(tmp_path, ucc("01,0,D,1000,1")), "up")


def test_two_lines_for_one_second_count_as_their_mean(tmp_path: Path) -> None:
    read, _ = read_link_trace(written(tmp_path, ucc("01,0,D,1000,1", "01,0,D,3000,1", "02,0,D,4000,1")))
    assert read.bits_per_s.tolist() == [2e6, 4e6]


def test_nyu_lines_are_seconds_in_their_units(tmp_path: Path) -> None:
    read, cut = read_link_trace(written(tmp_path, "14.4,Mbits/sec\n900,Kbits/sec\n"))
    assert (read.bits_per_s.tolist(), read.length_s, cut) == ([14.4e6, 0.9e6], 2, 0)


def test_lumos_runs_follow_each_other(tmp_path: Path) -> None:
    read, cut = read_link_trace(written(tmp_path, LUMOS + "1,5,C,100\n1,6,C,200\n2,1,C,300\n2,2,C,400\n"))
    assert (read.bits_per_s.tolist(), read.at_s.tolist(), cut) == ([1e8, 2e8, 3e8, 4e8], [0, 1, 2, 3], 0)


def test_mahimahi_lines_are_packets(tmp_path: Path) -> None:
    read, _ = read_link_trace(written(tmp_path, "0\n10\n20\n150\n300\n"))
    assert (read.length_s, len(read.at_s)) == (pytest.approx(0.3), 3)
    assert read.bits_until(read.length_s) == pytest.approx(5 * 1504 * 8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("hello\n", "line 1: is no trace of UCC"),
        (ucc("05,0,D,1,1", "04,0,D,1,1"), "line 3: goes back in time by 1 s"),
        (ucc("05,0,D,many,1"), "line 2: DL_bitrate is 'many', not a number"),
        (ucc("05,0,D,nan,1"), "line 2: DL_bitrate is 'nan', not a number"),
        (LUMOS + "1,nan,C,100\n1,6,C,200\n", "line 2: seq_num is 'nan', not a number"),
        ("0\nnan\n300\n", "line 2: the time is 'nan', not a number"),
        (ucc("05,0,D,-5,1"), "line 2: the rate is -5000 bit/s"),
        (ucc("05,0,I,1,1"), "in no line of it the link was in use"),
        (ucc("05,0"), "line 2: has 2 cells, fewer than the header"),
        ("Timestamp,DL_bitrate\n1,1\n", "has no column State"),
        (UCC + "noon,0,D,1,1\n", "line 2: Timestamp is 'noon'"),
        ("1,Mbits/sec\n1,furlongs\n", "line 2: the unit is 'furlongs', not Mbits/sec"),
        ("10\n5\n", "line 2: 5 ms is before 10 ms"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadTrace, match=rf"drive.csv.*{said}"):
        read_link_trace(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadTrace) as refused:
        read_link_trace(tmp_path / "nowhere.csv")
    assert str(refused.value) == f"{tmp_path / 'nowhere.csv'}: No such file or directory; give the path of a file"


@pytest.mark.parametrize(
    ("held", "said"), [(b"\xff\xfe1", "not text in UTF-8"), (b"1" * 200_000, "not lines of cells")]
)
def test_a_file_of_something_else_is_named(tmp_path: Path, held: bytes, said: str) -> None:
    (tmp_path / "drive.csv").write_bytes(held)
    with pytest.raises(BadTrace, match=rf"drive.csv: {said}"):
        read_link_trace(tmp_path / "drive.csv")
