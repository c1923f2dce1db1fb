"""Notes: what belongs to collections but to no store."""

import threading

import apsw
import pytest

from kokeshi.errors import InvalidRequestError, NotFoundError, SetupError, UnavailableError
from kokeshi.index.notes import Notes
from kokeshi.index.notes_file import FILE


@pytest.fixture
def notes(tmp_path):
    with Notes(tmp_path) as made:
        yield made


def spoil(tmp_path, statement):
    with apsw.Connection(str(tmp_path / FILE)) as connection:
        connection.execute(statement)
    connection.close()


def test_json_and_bytes_come_back_as_they_were_after_a_restart(tmp_path):
    with Notes(tmp_path) as notes:
        notes.put("c", "map", "a", {"x": [1, 2.5, None]})
        notes.put("c", "map", "b", b"\0\1")
        notes.put("c", "map", "a", [3])
    with Notes(tmp_path) as notes:
        assert notes.get("c", "map", "a") == [3]
        assert notes.get("c", "map", "b") == b"\0\1"
        assert notes.get("c", "map", "c") is None
        assert notes.get("d", "map", "a") is None
        assert [(note.name, note.is_damaged) for note in notes.list("c", "map")] == [
            ("a", False),
            ("b", False),
        ]
        assert notes.list("c", "curve") == ()


def test_a_note_can_be_deleted_once(notes):
    notes.put("c", "k", "n", 1)
    assert notes.delete("c", "k", "n")
    assert not notes.delete("c", "k", "n")


def test_what_neither_json_nor_bytes_hold_is_refused(notes):
    with pytest.raises(InvalidRequestError, match="bytes or JSON"):
        notes.put("c", "k", "n", {1, 2})
    with pytest.raises(InvalidRequestError, match="at most 256"):
        notes.put("c" * 257, "k", "n", 1)


@pytest.mark.parametrize("change", ["value = x'5b345d'", "name = 'other'", "is_json = 0"])
def test_a_damaged_note_is_reported_and_not_served(tmp_path, change):
    with Notes(tmp_path) as notes:
        notes.put("c", "k", "n", [3])
    spoil(tmp_path, f"UPDATE notes SET {change}")
    with Notes(tmp_path) as notes:
        (entry,) = notes.list()
        assert entry.is_damaged
        with pytest.raises(UnavailableError, match="damaged"):
            notes.get("c", "k", entry.name)
        notes.put("c", "k", entry.name, [4])
        assert notes.get("c", "k", entry.name) == [4]


def test_a_bit_that_turned_in_the_text_of_a_table_is_told_as_damage(tmp_path):
    with Notes(tmp_path) as notes:
        notes.put("faces", "map", "a", {"b": 1})
    path = tmp_path / "notes.sqlite"
    path.write_bytes(path.read_bytes().replace(b"is_json INTEGER", b"is_jzon INTEGER"))
    with Notes(tmp_path) as notes, pytest.raises(UnavailableError, match="cannot be used"):
        notes.get("faces", "map", "a")


def test_aliases_move_all_at_once_or_not_at_all(notes):
    notes.set_aliases({"a": "one", "b": "one"})
    with pytest.raises(InvalidRequestError, match="an alias is 1 to 64"):
        notes.set_aliases({"a": "two", "NOT A NAME": "two"})
    assert notes.aliases() == {"a": "one", "b": "one"}
    notes.set_aliases({"a": "two", "b": "two"})
    assert notes.aliases("two") == {"a": "two", "b": "two"}
    assert notes.aliases("one") == {}
    assert notes.resolve("a") == "two"
    assert notes.resolve("c") is None


def test_two_aliases_that_swap_together_are_never_seen_apart(tmp_path, notes):
    notes.set_aliases({"a": "one", "b": "two"})
    stop = threading.Event()

    def swap():
        with Notes(tmp_path) as mine:
            for turn in range(30):
                pair = ("one", "two") if turn % 2 else ("two", "one")
                mine.set_aliases(dict(zip("ab", pair, strict=True)))
        stop.set()

    thread = threading.Thread(target=swap)
    thread.start()
    seen = 0
    while not stop.is_set():
        assert set(notes.aliases().values()) == {"one", "two"}
        seen += 1
    thread.join()
    assert seen


def test_a_damaged_alias_is_not_followed_and_can_be_deleted(tmp_path, notes):
    notes.set_aliases({"a": "one"})
    spoil(tmp_path, "UPDATE aliases SET collection = 'two'")
    with pytest.raises(UnavailableError, match="alias 'a' is damaged"):
        notes.resolve("a")
    notes.delete_alias("a")
    with pytest.raises(NotFoundError, match="no alias 'a'"):
        notes.delete_alias("a")


def test_a_collection_that_goes_takes_its_notes_and_aliases_with_it(notes):
    notes.put("one", "k", "n", 1)
    notes.put("two", "k", "n", 2)
    notes.set_aliases({"a": "one", "b": "two"})
    notes.forget("one")
    assert [note.collection for note in notes.list()] == ["two"]
    assert notes.aliases() == {"b": "two"}


def test_many_threads_may_share_notes(notes):
    def work(number):
        for turn in range(5):
            notes.put("c", "k", f"{number}", turn)
            assert notes.get("c", "k", f"{number}") == turn

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notes.list("c")) == 4


def test_a_file_of_another_format_or_none_at_all_is_refused(tmp_path):
    Notes(tmp_path).close()
    spoil(tmp_path, "PRAGMA user_version = 9")
    with pytest.raises(SetupError, match="format 9"):
        Notes(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(SetupError, match="cannot open"):
        Notes(other)


def test_closed_notes_say_so(tmp_path):
    notes = Notes(tmp_path)
    notes.close()
    with pytest.raises(UnavailableError, match="closed"):
        notes.resolve("a")
