"""The service on tiny graphs whose right answers can be read off the pixels."""

import asyncio
import io
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from kokeshi import metrics
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.protocol import Wanted
from kokeshi.errors import (
    AlreadyExistsError,
    DeadlineError,
    DimensionError,
    InvalidImageError,
    InvalidRequestError,
    ModelNotFoundError,
    SpaceMismatchError,
    WrongTaskError,
)
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore
from kokeshi.service import Service
from kokeshi.service.run import together
from kokeshi.service.types import (
    Audio,
    Encoding,
    Image,
    Limits,
    MaskFormat,
    NewItem,
    OnConflict,
    SearchMode,
    Tensor,
    Text,
    Verdict,
)


@pytest.fixture
def red(make_picture):
    return Image(make_picture("red"))


@pytest.fixture
def blue(make_picture):
    return Image(make_picture("blue"))


async def test_a_red_picture_is_red(service, red, blue):
    answer = await service.classify("colours", [red, blue], top_k=2)
    assert [result.labels[0].name for result in answer.results] == ["red", "blue"]
    assert answer.results[0].labels[0].score == pytest.approx(1, abs=1e-3)
    assert len(answer.results[0].labels) == 2
    assert (answer.model.name, answer.model.version) == ("colours", 1)


async def test_a_multi_label_model_gives_every_label_over_the_threshold(service, make_picture):
    yellow = Image(make_picture((255, 200, 0)))
    labels = (await service.classify("tags", [yellow])).results[0]
    assert [label.name for label in labels.labels] == ["red", "green"]
    assert labels.multi_label
    strict = (await service.classify("tags", [yellow], threshold=0.9)).results[0]
    assert [label.name for label in strict.labels] == ["red"]


async def test_two_towers_choose_among_labels_that_the_client_gives(service, red, blue):
    answer = await service.classify("pair", [red, blue], labels=["blue", "red"], templates=["{}"])
    assert [result.labels[0].name for result in answer.results] == ["red", "blue"]
    assert sum(label.score for label in answer.results[0].labels) == pytest.approx(1)


async def test_a_classifier_takes_no_labels(service, red):
    with pytest.raises(WrongTaskError, match="classes of its own"):
        await service.classify("colours", [red], labels=["cat"])


async def test_two_towers_without_labels_are_refused(service, red):
    with pytest.raises(InvalidRequestError, match="labels that you give"):
        await service.classify("pair", [red])


@pytest.mark.parametrize("top_k", [0, -1, 1_000_000])
async def test_a_k_out_of_range_is_refused(service, red, top_k):
    with pytest.raises(InvalidRequestError, match="top_k is from 1 to 10000"):
        await service.classify("colours", [red], top_k=top_k)


def _two_halves(left, right, size=(40, 20)):
    canvas = Picture.new("RGB", size, left)
    canvas.paste(Picture.new("RGB", (size[0] // 2, size[1]), right), (size[0] // 2, 0))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return Image(buffer.getvalue())


async def test_masks_have_the_images_own_size(service):
    answer = await service.segment("regions", [_two_halves("red", "blue")])
    result = answer.results[0]
    assert (result.height, result.width) == (20, 40)
    label_map = np.asarray(Picture.open(io.BytesIO(result.label_map_png)))
    assert label_map.shape == (20, 40)
    assert (label_map[:, :15] == 0).all()
    assert (label_map[:, 25:] == 2).all()
    areas = {region.label: region.area_pixels for region in result.regions}
    assert sum(areas.values()) == 800
    assert areas["red"] == pytest.approx(400, abs=100)


async def test_run_lengths_are_cocos(service):
    from pycocotools import mask as coco

    answer = await service.segment("regions", [_two_halves("red", "blue")], format=MaskFormat.RLE)
    for region in answer.results[0].regions:
        rle = {"size": [region.rle.height, region.rle.width], "counts": region.rle.counts}
        compressed = coco.frPyObjects(rle, region.rle.height, region.rle.width)
        assert int(coco.area(compressed)) == region.area_pixels


async def test_polygons_enclose_the_area(service):
    answer = await service.segment(
        "regions", [_two_halves("red", "blue")], format=MaskFormat.POLYGONS
    )
    for region in answer.results[0].regions:
        (polygon,) = region.polygons
        x, y = polygon.points.T
        area = abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2
        assert area == pytest.approx(region.area_pixels, rel=0.02)


async def test_a_foreground_model_gives_a_grey_map_and_two_classes(service):
    answer = await service.segment("glow", [_two_halves("white", "black")])
    result = answer.results[0]
    grey = np.asarray(Picture.open(io.BytesIO(result.foreground_png)))
    assert grey[10, 2] == 255
    assert grey[10, 38] == 0
    assert {region.label for region in result.regions} == {"background", "foreground"}


async def test_prefixes_are_renormalised(service, make_picture):
    image = Image(make_picture((200, 100, 50)))
    full = (await service.embed("colours", [image])).vectors[0].values
    short = await service.embed("colours", [image], dimension=2)
    assert short.dimension == 2
    assert np.linalg.norm(short.vectors[0].values) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(
        short.vectors[0].values, full[:2] / np.linalg.norm(full[:2]), rtol=1e-6
    )
    raw = await service.embed("colours", [image], dimension=2, normalised=False)
    np.testing.assert_array_equal(raw.vectors[0].values, full[:2])


async def test_a_length_that_was_not_trained_is_refused(service, red):
    with pytest.raises(DimensionError, match="trained for dimensions 2, 3, 4, not 1"):
        await service.embed("colours", [red], dimension=1)


async def test_vectors_come_in_four_encodings(service, make_picture):
    image = Image(make_picture((200, 100, 50)))
    exact = (await service.embed("colours", [image])).vectors[0].values
    half = (await service.embed("colours", [image], encoding=Encoding.FLOAT16)).vectors[0]
    np.testing.assert_allclose(np.frombuffer(half.data, "<f2"), exact, rtol=1e-3)
    small = (await service.embed("colours", [image], encoding=Encoding.INT8)).vectors[0]
    np.testing.assert_allclose(
        np.frombuffer(small.data, np.int8) * small.scale, exact, atol=small.scale
    )
    bits = (await service.embed("colours", [image], encoding=Encoding.BINARY)).vectors[0]
    assert np.unpackbits(np.frombuffer(bits.data, np.uint8))[:4].tolist() == [1, 1, 1, 1]


async def test_texts_and_pictures_share_a_space(service, red):
    told = await service.embed("pair", [Text("red")])
    seen = await service.embed("pair", [red])
    assert told.space == seen.space
    assert told.tokens == 3
    alike = await service.compare("pair", red, Text("red"))
    other = await service.compare("pair", red, Text("green"))
    assert alike.similarity > 0.9 > other.similarity
    assert alike.verdict is Verdict.NONE


async def test_compare_gives_a_verdict_where_the_card_has_a_threshold(service, red, blue):
    same = await service.compare("colours", red, red)
    assert same.verdict is Verdict.SAME
    assert same.similarity == pytest.approx(1)
    assert same.distance == pytest.approx(0, abs=1e-6)
    different = await service.compare("colours", red, blue)
    assert different.verdict is Verdict.DIFFERENT
    assert different.threshold == pytest.approx(0.9)
    assert (await service.compare("colours", red, red, dimension=2)).verdict is Verdict.NONE


async def test_a_tensor_skips_decoding(service, red):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[..., 0] = 255
    answer = await service.classify("colours", [Tensor(pixels)])
    assert answer.results[0].labels[0].name == "red"
    with pytest.raises(InvalidRequestError, match=r"takes \(8, 8, 3\), not \(4, 4, 3\)"):
        await service.classify("colours", [Tensor(pixels[:4, :4])])


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (Text("red"), WrongTaskError),
        (Audio(b"RIFF"), WrongTaskError),
        (Image(b""), InvalidImageError),
        (Image(b"not a picture"), InvalidImageError),
        (Tensor(np.zeros(4, np.float32)), InvalidRequestError),
    ],
)
async def test_what_a_model_cannot_take_is_refused(service, item, error):
    with pytest.raises(error):
        await service.classify("colours", [item])


async def test_a_bad_input_is_named_by_its_position(service, red):
    with pytest.raises(InvalidImageError, match="input 1: "):
        await service.classify("colours", [red, Image(b"no"), red])


async def test_calls_without_inputs_or_with_too_many_are_refused(service, red):
    for inputs in ([], [red] * 257):
        with pytest.raises(InvalidRequestError, match="1 to 256 inputs"):
            await service.classify("colours", inputs)


async def test_more_inputs_than_a_batch_holds_are_answered_in_order(service, make_picture):
    colours = ["red", "green", "blue"] * 30
    # Pillow's "green" is half as bright, the model's label the same
    inputs = [Image(make_picture(colour)) for colour in colours]
    answer = await service.classify("colours", inputs, top_k=1)
    assert [result.labels[0].name for result in answer.results] == colours


async def test_unknown_models_are_not_found(service, red):
    with pytest.raises(ModelNotFoundError, match="no model named 'nothing'"):
        await service.classify("nothing", [red])
    with pytest.raises(ModelNotFoundError, match="version 7"):
        await service.classify("colours", [red], version=7)
    with pytest.raises(ModelNotFoundError, match="'colours' with version 7"):
        service.model("colours", 7)


async def test_a_wrong_task_says_what_the_model_answers(service, red):
    with pytest.raises(WrongTaskError, match="answers segmentation, not classification"):
        await service.classify("regions", [red])


async def test_a_deadline_that_passed_is_an_error(service, red):
    with pytest.raises(DeadlineError):
        await service.classify("colours", [red], timeout_s=1e-9)


async def test_a_deadline_that_passed_is_counted(service, red):
    counter = metrics.REFUSED.labels("colours", "deadline")
    before = counter._value.get()
    with pytest.raises(DeadlineError):
        await service.classify("colours", [red], timeout_s=1e-9)
    assert counter._value.get() == before + 1


async def test_texts_are_prepared_away_from_the_event_loop(tiny_repository, tmp_path):
    readers = []

    class Watched(EmbeddedEngine):
        def file(self, model, name):
            readers.append(threading.current_thread())
            return super().file(model, name)

    engine = Watched(tiny_repository, threads=1)
    service = Service(engine, ImagePool(1), EmbeddedStore(tmp_path / "data"), Limits())
    await service.start()
    try:
        await service.embed("pair", [Text("red"), Text("blue")])
    finally:
        await service.close()
    assert len(readers) == 1
    assert threading.current_thread() not in readers


async def test_of_calls_that_run_together_one_failure_ends_the_rest():
    ended = asyncio.Event()

    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def fails():
        raise DeadlineError("too late")

    with pytest.raises(DeadlineError):
        await together([waits(), fails()])
    await asyncio.wait_for(ended.wait(), 1)


async def _fill(service, make_picture):
    shades = {f"{colour}-{i}": colour for colour in ("red", "lime", "blue") for i in range(5)}
    items = []
    for position, (name, colour) in enumerate(shades.items()):
        items.append(NewItem(name, Image(make_picture(colour)), {"place": position}))
    return await service.add_items("shades", items)


async def test_a_write_is_acknowledged_even_if_its_collection_is_dropped_at_once(
    tiny_repository, tmp_path, red
):
    class Dropping(EmbeddedStore):
        def upsert(self, name, *args, **kwargs):
            receipt = super().upsert(name, *args, **kwargs)
            self.drop(name)
            return receipt

    engine = EmbeddedEngine(tiny_repository, threads=1)
    service = Service(engine, ImagePool(1), Dropping(tmp_path / "data"), Limits())
    await service.start()
    try:
        await service.create_collection("short", "colours")
        assert (await service.add_items("short", [NewItem("a", red)])).count == 1
    finally:
        await service.close()


async def test_the_nearest_picture_is_of_the_same_colour(service, make_picture, red):
    await service.create_collection("shades", "colours")
    written = await _fill(service, make_picture)
    assert written.count == 15
    found = await service.search("shades", [red], k=5)
    assert {hit.id.split("-")[0] for hit in found.results[0]} == {"red"}
    assert found.higher_is_better
    assert found.results[0][0].score == pytest.approx(1, abs=1e-5)
    assert found.results[0][0].metadata["place"] in range(5)


async def test_every_mode_finds_the_same_neighbours(service, make_picture, blue):
    await service.create_collection("shades", "colours")
    await _fill(service, make_picture)
    answers = [
        await service.search("shades", [blue], k=5, mode=mode)
        for mode in (SearchMode.AUTO, SearchMode.EXACT, SearchMode.TWO_STAGE)
    ]
    ids = [[hit.id for hit in answer.results[0]] for answer in answers]
    assert ids[0] == ids[1] == ids[2]


async def test_a_shortlist_is_refused_in_the_words_of_the_api(service, red):
    await service.create_collection("shades", "colours")
    with pytest.raises(InvalidRequestError, match="a shortlist is of mode two_stage, not auto"):
        await service.search("shades", [red], shortlist=5)


async def test_a_model_to_search_with_is_not_blamed_on_the_collection(service, red):
    await service.create_collection("shades", "colours")
    with pytest.raises(ModelNotFoundError) as caught:
        await service.search("shades", [red], model="nothing")
    assert str(caught.value) == "no model named 'nothing'"


async def test_ids_are_taken_once_unless_replaced(service, red, blue):
    await service.create_collection("shades", "colours")
    await service.add_items("shades", [NewItem("a", red, {"n": 1})])
    with pytest.raises(AlreadyExistsError, match="'a'"):
        await service.add_items("shades", [NewItem("b", blue), NewItem("a", blue)])
    assert (await service.describe_collection("shades")).count == 1
    await service.add_items("shades", [NewItem("a", blue)], on_conflict=OnConflict.REPLACE)
    (item,) = await service.get_items("shades", ["a"], with_vectors=True)
    assert item.metadata == {}
    assert item.vector[2] > item.vector[0]


async def test_vectors_of_another_space_are_refused_with_both_named(service, red):
    info = await service.create_collection("shades", "colours")
    other = (await service.embed("pair", [red])).space
    vector = Tensor(np.ones(4, np.float32))
    for space in (other, ""):
        with pytest.raises(SpaceMismatchError, match=info.space):
            await service.add_items("shades", [NewItem("a", vector)], space=space)
    with pytest.raises(SpaceMismatchError, match=other):
        await service.search("shades", [red], model="pair")
    await service.add_items("shades", [NewItem("a", vector)], space=info.space)
    assert (await service.describe_collection("shades")).count == 1


async def test_pictures_are_found_by_text(service, make_picture):
    await service.create_collection("album", "pair")
    items = [NewItem(colour, Image(make_picture(colour))) for colour in ("red", "lime", "blue")]
    items.append(NewItem("said", Text("blue")))
    await service.add_items("album", items)
    found = await service.search("album", [Text("red")], k=1)
    assert found.results[0][0].id == "red"
    found = await service.search("album", [Text("blue")], k=2)
    assert {hit.id for hit in found.results[0]} == {"blue", "said"}


async def test_a_bad_item_among_several_kinds_is_named_by_its_own_position(service, red):
    await service.create_collection("album", "pair")
    items = [NewItem("a", Text("red")), NewItem("b", red), NewItem("c", Image(b"no"))]
    with pytest.raises(InvalidImageError, match=r"^input 2: "):
        await service.add_items("album", items)
    with pytest.raises(InvalidImageError, match=r"^input 1: "):
        await service.search("album", [Text("red"), Image(b"no")])


async def test_items_are_listed_page_by_page_and_deleted(service, make_picture):
    await service.create_collection("shades", "colours")
    await _fill(service, make_picture)
    seen, token = [], ""
    while True:
        page = await service.list_items("shades", page_size=4, page_token=token)
        seen += [item.id for item in page.items]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen)) == 15
    gone = await service.delete_items("shades", ["red-0", "never-was"])
    assert gone.count == 1
    assert (await service.describe_collection("shades")).count == 14


async def test_server_and_models_describe_themselves(service):
    assert service.ready()
    assert {info.name for info in service.models()} == {
        "colours", "glow", "pair.image", "pair.text", "regions", "tags",
    }  # fmt: skip
    assert service.model("colours").card.labels == ("red", "green", "blue")
    assert service.info().engine == "embedded"


async def test_a_call_that_a_swap_overtook_is_answered_by_the_version_that_took_over(
    tiny_repository, make_picture, tmp_path, monkeypatch
):
    repository = Path(shutil.copytree(tiny_repository, tmp_path / "models"))
    engine = EmbeddedEngine(repository, threads=1, wanted=Wanted("explicit", models=("*",)))
    service = Service(engine, ImagePool(2), EmbeddedStore(tmp_path / "data"), Limits())
    await service.start()
    prepare = service._images.prepare
    asked = [Image(make_picture("red"))]

    async def slow(*args):
        monkeypatch.undo()
        card = service.card("colours").model_copy(update={"version": 2})
        shutil.copytree(repository / "colours" / "1", repository / "colours" / "2")
        (repository / "colours" / "2" / "card.json").write_text(card.model_dump_json())
        await service.load("colours")
        return await prepare(*args)

    monkeypatch.setattr(service._images, "prepare", slow)
    try:
        answer = await service.classify("colours", asked)
        assert answer.model.version == 2
        assert answer.results[0].labels[0].name == "red"
        with pytest.raises(ModelNotFoundError):
            await service.classify("colours", asked, version=1)
    finally:
        await service.close()
