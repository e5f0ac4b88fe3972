"""Pieces of words with times become words."""

import pytest

from offhook.edge.speech.pieces import Piece, join_pieces, timed_pieces
from offhook.edge.speech.protocol import Word

pytestmark = pytest.mark.unit


def test_a_piece_with_a_space_begins_a_word() -> None:
    pieces = [
        Piece(" cold", 100, 300, 0.8),
        Piece("-", 300, 320, 1.0),
        Piece("hearted", 320, 700, 0.6),
        Piece(" man.", 900, 1200),
    ]
    assert join_pieces(pieces) == (Word("cold-hearted", 100, 700, 0.8), Word("man.", 900, 1200, None))


def test_the_first_piece_begins_a_word_with_or_without_a_space_and_spaces_alone_are_none() -> None:
    assert [word.text for word in join_pieces([Piece("a", 0, 1), Piece(" ", 1, 2), Piece(" b", 2, 3)])] == [
        "a",
        "b",
    ]
    assert join_pieces([]) == ()


def test_without_durations_a_piece_lasts_until_the_next_but_not_through_a_pause() -> None:
    pieces = timed_pieces([" a", "b", " c"], [0.1, 0.2, 2.0], [], [], 2_200)
    assert [(piece.start_ms, piece.end_ms) for piece in pieces] == [(100, 200), (200, 600), (2000, 2200)]


def test_durations_count_where_they_are_given() -> None:
    pieces = timed_pieces([" a", " b"], [0.1, 1.0], [0.3, 9.0], [0.5, 0.25], 2_000)
    assert [(piece.start_ms, piece.end_ms, piece.confidence) for piece in pieces] == [
        (100, 400, 0.5),
        (1000, 2000, 0.25),
    ]


def test_times_beyond_the_end_are_the_end() -> None:
    assert [(piece.start_ms, piece.end_ms) for piece in timed_pieces([" a"], [5.0], [], [], 1_000)] == [
        (1000, 1000)
    ]


def test_without_times_there_are_no_pieces() -> None:
    assert timed_pieces([" a", " b"], [], [], [], 1_000) == []
