"""Notes beside the collections, which have to go where those go."""

from kokeshi.index.notes import Notes


def write_notes(directory, word):
    """Several pages of notes that all say a word."""
    with Notes(directory) as notes:
        for number in range(4):
            notes.put("c", "map", f"m{number}", {"word": word, "weights": [number] * 1000})
        notes.set_aliases({"live": word, "next": word})


def word_of(directory):
    """What all notes of a directory say; None where there are none."""
    with Notes(directory) as notes:
        said = [notes.get(one.collection, one.kind, one.name)["word"] for one in notes.list()]
        said += notes.aliases().values()
    assert len(said) in {0, 6}, said
    assert len(set(said)) <= 1, said
    return said[0] if said else None
