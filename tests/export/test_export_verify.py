"""The measures and promises, on graphs written by hand; whole exports are tested beside."""

import numpy as np
import pytest

from kokeshi.card import Agreement
from kokeshi.contract import ImageInput, Meaning, Output, TextInput
from kokeshi.errors import ArtefactError, VerificationError
from kokeshi.export.promises import check_contract, check_values
from kokeshi.export.samples import batches, noise, photographs

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
from kokeshi.export.graph import Graph, write_onnx  # noqa: E402 - needs torch
from kokeshi.export.verify import in_words, measures, verify  # noqa: E402 - needs torch
from kokeshi.plugin import Part  # noqa: E402 - beside the others

pytestmark = pytest.mark.export

CONTRACT = ImageInput(height=4, width=4)


def output(meaning, *shape, **fields) -> Output:
    return Output(name="out", meaning=meaning, shape=shape, **fields)


def ball(curvature=1.0):
    return output(Meaning.EMBEDDING, 2, normalised=False, metric="hyperbolic", curvature=curvature)


LOOSE = output(Meaning.LABEL_MAP, 1, 4, tolerance=0.7)


def worst(of, expected, got):
    measure = measures(of)[-1]
    numbers = measure.per_row(np.asarray(expected, np.float64), np.asarray(got, np.float64))
    value = float(numbers[measure.worst(numbers)])
    return value, measure.keeps(value)


@pytest.mark.parametrize(
    ("of", "expected", "got", "value", "kept"),
    [
        (output(Meaning.PROBABILITIES, 2), [[0, 1], [1, 0]], [[0, 1], [0.9, 0.1]], 0.1, False),
        (output(Meaning.SCORES, 1), [[0.5]], [[0.50005]], 5e-5, True),
        (output(Meaning.FOREGROUND, 1, 2), [[[0, 1]]], [[[0, 0.5]]], 0.5, False),
        (output(Meaning.EMBEDDING, 2), [[1, 0], [1, 0]], [[1, 0], [0, 1]], 0, False),
        (output(Meaning.EMBEDDING, 2), [[1, 0]], [[1, 0.001]], 1 - 5e-7, True),
        (output(Meaning.EMBEDDING, 2, normalised=False), [[4, 0]], [[5, 0]], 0.25, False),
        (ball(), [[0.5, 0]], [[0.501, 0]], 0.0026684, True),
        (ball(), [[0.999, 0]], [[0.9992, 0]], 0.2232436, False),  # a small step, but near the edge
        (ball(4.0), [[0.4995, 0]], [[0.4996, 0]], 0.2232436, False),
        (output(Meaning.LABEL_MAP, 1, 4), [[[1, 2, 3, 4]]], [[[1, 2, 3, 5]]], 0.75, False),
        (LOOSE, [[[1, 2, 3, 4]]], [[[1, 2, 3, 5]]], 0.75, True),
        (output(Meaning.SCORES, 1, tolerance=0.0), [[0.5]], [[0.50005]], 5e-5, False),
    ],
)  # fmt: skip
def test_the_worst_row_decides(of, expected, got, value, kept):
    found = worst(of, expected, got)
    assert found == (pytest.approx(value, abs=1e-6), kept)


@pytest.mark.parametrize(
    ("measure", "worst", "bound", "words"),
    [
        ("min cosine", 1 - 4.4e-13, 0.9999, "out: 1 - cosine 4.4e-13 (bound 0.0001)"),
        ("min cosine", 1 + 2.2e-16, 0.9999, "out: 1 - cosine 0 (bound 0.0001)"),
        (
            "max absolute difference",
            3e-9,
            1e-4,
            "out: max absolute difference 3e-09 (bound 0.0001)",
        ),
    ],
)
def test_how_near_an_agreement_is_can_be_read(measure, worst, bound, words):
    agreement = Agreement(output="out", measure=measure, worst=worst, bound=bound)
    assert in_words(agreement) == words


@pytest.mark.parametrize("meaning", [Meaning.PROBABILITIES, Meaning.EMBEDDING])
def test_not_a_number_is_never_good_enough(meaning):
    value, kept = worst(output(meaning, 2), [[1, 0], [1, 0]], [[1, 0], [np.nan, 0]])
    assert np.isnan(value)
    assert not kept


GOOD = {
    Meaning.PROBABILITIES: [[0.25, 0.75]],
    Meaning.SCORES: [[1, 1]],
    Meaning.EMBEDDING: [[0.6, 0.8]],
    Meaning.FOREGROUND: [[[0, 1]]],
}
BAD = [
    (output(Meaning.PROBABILITIES, 2), [[0.5, 0.6]], "sums to 1.1"),
    (output(Meaning.PROBABILITIES, 2), [[-0.5, 1.5]], r"\[-0.5, 1.5\]"),
    (output(Meaning.SCORES, 2), [[0, 2]], r"\[0, 2\]"),
    (output(Meaning.FOREGROUND, 1, 2), [[[0, 255]]], "255"),
    (output(Meaning.EMBEDDING, 2), [[3, 4]], "norm 5"),
    (output(Meaning.EMBEDDING, 2, dimensions=(1, 2)), [[0, 1]], "first 1 values"),
    (output(Meaning.EMBEDDING, 2), [[np.nan, 1]], "not finite"),
    (output(Meaning.EMBEDDING, 3), [[0, 1]], r"\(2,\), its contract says float32 \(3,\)"),
]


@pytest.mark.parametrize("meaning", GOOD)
def test_a_kept_promise_passes(meaning):
    values = np.asarray(GOOD[meaning], np.float32)
    check_values(output(meaning, *values.shape[1:]), values, ())


@pytest.mark.parametrize(("of", "values", "words"), BAD)
def test_a_broken_promise_is_named(of, values, words):
    with pytest.raises(VerificationError, match=words):
        check_values(of, np.asarray(values, np.float32), ())


def test_a_label_map_stays_within_its_labels():
    values = np.array([[[0, 2]]], np.uint8)
    check_values(output(Meaning.LABEL_MAP, 1, 2), values, ("a", "b", "c"))
    with pytest.raises(VerificationError, match="class 2, there are 2 labels"):
        check_values(output(Meaning.LABEL_MAP, 1, 2), values, ("a", "b"))
    with pytest.raises(VerificationError, match="int64"):
        check_values(output(Meaning.LABEL_MAP, 1, 2), values.astype(np.int64), ())


def test_a_graph_whose_point_leaves_the_ball_agrees_with_nothing():
    (measure,) = measures(ball())
    numbers = measure.per_row(np.array([[0.5, 0.0]]), np.array([[1.5, 0.0]]))
    assert not measure.keeps(float(numbers[measure.worst(numbers)]))


def test_points_of_a_ball_lie_inside_it():
    points = np.array([[0, 0], [0.9, 0.4]], np.float32)
    check_values(ball(), points, ())
    check_values(ball(0.25), 2 * points, ())
    for of, values in ((ball(), 1.1 * points), (ball(4.0), points)):
        with pytest.raises(VerificationError, match=r"ball's radius, not within 0\.99999"):
            check_values(of, values, ())


def test_outputs_have_to_agree_with_one_another():
    nested = Output(name="e", meaning=Meaning.EMBEDDING, shape=(4,), dimensions=(2, 4))
    head = output(Meaning.PROBABILITIES, 3, dimension=2)
    check_contract((nested, head), ("a", "b", "c"))
    with pytest.raises(ArtefactError, match=r"prefix length 3, the embedding has \[2, 4\]"):
        check_contract((nested, head.model_copy(update={"dimension": 3})), ())
    with pytest.raises(ArtefactError, match="names of their own"):
        check_contract((head, head), ())
    with pytest.raises(ArtefactError, match="names of their own"):
        check_contract((), ())
    with pytest.raises(ArtefactError, match="at most 256 classes, not 300"):
        check_contract((output(Meaning.LABEL_MAP, 4, 4),), ["x"] * 300)


def test_photographs_and_noise_come_at_every_batch_size():
    made = batches(CONTRACT, {})
    assert [len(batch.names) for batch in made] == [1, 2, 5, 1, 2, 5]
    assert all(batch.rows.shape[1:] == (4, 4, 3) for batch in made)
    assert all(batch.rows.dtype == np.uint8 for batch in made)
    names, rows = photographs(CONTRACT)
    assert len(set(names)) == 8
    assert len({row.tobytes() for row in rows}) == 8


def test_token_noise_is_ended_padded_and_within_the_vocabulary():
    rows = noise(TextInput(context_length=7, pad_id=2, end_id=9), {}, 50)
    assert rows.dtype == np.int64
    assert rows.min() >= 0
    assert rows.max() == 9
    for row in rows:
        end = np.flatnonzero(row == 9)[-1]
        assert (row[end + 1 :] == 2).all()


class Halves(torch.nn.Module):
    """The share of dark and of bright in each image."""

    def forward(self, x):
        bright = x.mean((1, 2, 3)).sigmoid()
        return (torch.stack([1 - bright, bright], 1),)


@pytest.fixture
def halves(tmp_path):
    part = Part(Halves(), CONTRACT, (output(Meaning.PROBABILITIES, 2),))
    graph = Graph(part).eval()
    path = tmp_path / "graph.onnx"
    write_onnx(graph, part, torch.from_numpy(noise(CONTRACT, {}, 2)), path, 20, 10**6)
    return graph, part, path


def edited(path, edit):
    model = onnx.load(path)
    edit(model.graph)
    onnx.save(model, path)


def test_a_faithful_graph_passes(halves):
    assert verify(*halves).agreements[0].worst < 1e-6


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda graph: setattr(graph.input[0], "name", "x"), "inputs of the graph are x|refuses"),
        (
            lambda graph: setattr(graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 8),
            r"image tensor\(uint8\) \['batch', 8, 4, 3\]",
        ),
        (
            lambda graph: setattr(graph.output[0].type.tensor_type.shape.dim[0], "dim_value", 2),
            r"out tensor\(float\) \[2, 2\]",
        ),
    ],
)
def test_an_interface_that_is_not_the_contracts_is_refused(edit, words, halves):
    edited(halves[2], edit)
    with pytest.raises(VerificationError, match=words):
        verify(*halves)


def test_a_graph_with_other_constants_is_refused(halves):
    def dim(graph):
        for initialiser in graph.initializer:
            values = onnx.numpy_helper.to_array(initialiser)
            if values.dtype == np.float32 and values.size == 3:
                changed = onnx.numpy_helper.from_array(values * np.float32(1.01), initialiser.name)
                initialiser.CopyFrom(changed)

    edited(halves[2], dim)
    with pytest.raises(VerificationError, match=r"'out' disagrees.*max absolute difference is 0\."):
        verify(*halves)
