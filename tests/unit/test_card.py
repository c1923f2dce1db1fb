"""The card: what it answers, and its schema in the documentation."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from kokeshi.card import Card, space_of
from kokeshi.contract import ImageInput, Meaning, Output, Task
from kokeshi.errors import DimensionError, WrongTaskError

SCHEMA = Path(__file__).parents[2] / "docs" / "card.schema.json"
IMAGE = ImageInput(height=8, width=8)


@pytest.fixture
def card():
    heads = [
        Output(name="probabilities", meaning=Meaning.PROBABILITIES, shape=(3,)),
        Output(name="probabilities_8", meaning=Meaning.PROBABILITIES, shape=(3,), dimension=8),
        Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(16,), dimensions=(8, 16)),
    ]
    return Card.model_validate(
        {
            "name": "model",
            "version": 1,
            "method": "method",
            "paper": {"title": "T", "authors": "A", "year": 2026, "url": "https://example.org"},
            "checkpoint": {"source": "file", "sha256": "0" * 64, "licence": "MIT"},
            "model_sha256": "1" * 64,
            "space": "0123456789abcdef",
            "input": IMAGE.model_dump(),
            "outputs": [head.model_dump() for head in heads],
            "parity": {
                "reference": "torch",
                "images": 1,
                "noise": 1,
                "batch_sizes": [1],
                "agreements": [],
            },
            "exported_by": {},
        }
    )


def test_the_schema_in_the_documentation_is_the_cards(request):
    told = json.dumps(Card.model_json_schema(), indent=2) + "\n"
    if request.config.getoption("--update-tables"):
        SCHEMA.write_text(told)
    assert SCHEMA.read_text() == told


def test_a_card_survives_its_json(card):
    assert Card.model_validate_json(card.model_dump_json()) == card


def test_tasks_are_those_of_the_outputs(card):
    assert card.tasks == (Task.CLASSIFICATION, Task.EMBEDDING)


def test_a_head_is_found_by_the_prefix_that_it_reads(card):
    assert card.output_for(Task.CLASSIFICATION).name == "probabilities"
    assert card.output_for(Task.CLASSIFICATION, 8).name == "probabilities_8"
    assert card.output_for(Task.CLASSIFICATION, 16).name == "probabilities"  # the full length
    with pytest.raises(DimensionError, match="no classifier at dimension 4; it has 8"):
        card.output_for(Task.CLASSIFICATION, 4)


def test_a_task_without_an_output_is_refused(card):
    with pytest.raises(WrongTaskError, match="answers classification, embedding, not segm"):
        card.output_for(Task.SEGMENTATION)


@pytest.mark.parametrize("dimensions", [(8,), (16, 8), (8, 8, 16)])
def test_dimensions_ascend_to_the_full_length(dimensions):
    with pytest.raises(ValidationError, match="must ascend to the full length 16"):
        Output(name="e", meaning=Meaning.EMBEDDING, shape=(16,), dimensions=dimensions)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"metric": "hyperbolic"}, "normalised is false"),
        ({"metric": "hyperbolic", "normalised": False, "dimensions": (8, 16)}, "no prefixes"),
        ({"metric": "hyperbolic", "normalised": False, "curvature": 0}, "greater than 0"),
        ({"metric": "l2", "curvature": 2}, "goes with the hyperbolic metric only"),
        ({"metric": "manhattan"}, "'cosine', 'ip', 'l2' or 'hyperbolic'"),
    ],
)
def test_a_metric_that_cannot_be_kept_is_refused(fields, words):
    with pytest.raises(ValidationError, match=words):
        Output(name="e", meaning=Meaning.EMBEDDING, shape=(16,), **fields)


def test_a_curvature_is_written_where_there_is_a_ball_and_nowhere_else(card):
    """Servers that know no such field refuse a card that has it."""
    plain = Output(name="e", meaning=Meaning.EMBEDDING, shape=(16,), metric="ip")
    assert "curvature" not in plain.model_dump()
    assert "curvature" not in card.model_dump_json()
    ball = Output(
        name="e",
        meaning=Meaning.EMBEDDING,
        shape=(16,),
        metric="hyperbolic",
        normalised=False,
        curvature=0.5,
    )
    assert Output.model_validate_json(ball.model_dump_json()) == ball
    assert ball.model_dump()["curvature"] == 0.5


def test_unknown_fields_of_a_card_are_errors(card):
    with pytest.raises(ValidationError):
        Card.model_validate({**card.model_dump(), "colour": "red"})


def test_a_space_is_that_of_weights_contract_and_output():
    space = space_of([("a", IMAGE), ("b", IMAGE)])
    assert space == space_of([("b", IMAGE), ("a", IMAGE)])
    others = [
        space_of([("a", IMAGE)]),
        space_of([("a", IMAGE), ("c", IMAGE)]),
        space_of([("a", ImageInput(height=9, width=8)), ("b", IMAGE)]),
        space_of([("a", IMAGE), ("b", IMAGE)], "other"),
    ]
    assert len({space, *others}) == 5
