"""What happens often is told seldom, and nothing of it is lost from the count."""

from nodes.seldom import OTHERS, Seldom


def test_a_line_is_written_at_once_and_the_rest_is_counted() -> None:
    seldom = Seldom(every_s=5.0)
    assert [seldom.may("a", at_s) for at_s in (0.0, 0.1, 4.9)] == [True, False, False]
    assert seldom.may("b", 1.0)
    assert list(seldom.due(4.9)) == []
    assert list(seldom.due(5.0)) == [("a", 2)]
    assert not seldom.may("a", 6.0)  # the count was a line, too
    assert list(seldom.due(10.0)) == [("a", 1)]


def test_whoever_fell_silent_is_forgotten_and_told_of_at_once_again() -> None:
    seldom = Seldom(every_s=5.0)
    assert seldom.may("a", 0.0)
    assert list(seldom.due(5.0)) == []
    assert seldom.may("a", 5.1)


def test_many_names_share_a_line() -> None:
    seldom = Seldom(every_s=5.0, most=2)
    assert [seldom.may(name, 0.0) for name in "abcde"] == [True, True, True, False, False]
    assert list(seldom.due(5.0)) == [(OTHERS, 2)]
