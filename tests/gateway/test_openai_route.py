"""The embeddings call as OpenAI's own client makes it."""

import base64

import numpy as np
import openai
import pytest
from openai import AsyncOpenAI


@pytest.fixture
def client(both) -> AsyncOpenAI:
    return AsyncOpenAI(
        api_key="none", base_url="http://kokeshi/v1", http_client=both.http, max_retries=0
    )


def uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


async def rest(both, model, **body):
    answer = await both.http.post(f"/v1/models/{model}/embed", json=body)
    assert answer.status_code == 200, answer.text
    return [vector["values"] for vector in answer.json()["vectors"]]


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_texts_have_the_vectors_of_the_service(both, client, encoding):
    extra = {} if encoding is None else {"encoding_format": encoding}
    answer = await client.embeddings.create(model="pair", input=["red", "blue"], **extra)
    vectors = [each.embedding for each in answer.data]
    if encoding == "base64" and isinstance(vectors[0], str):
        vectors = [np.frombuffer(base64.b64decode(each), "<f4") for each in vectors]
    expected = await rest(both, "pair", inputs=[{"text": "red"}, {"text": "blue"}])
    np.testing.assert_array_equal(np.float32(vectors), np.float32(expected))
    assert [each.index for each in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 6
    assert answer.model == "pair"


async def test_one_string_is_one_input(client):
    answer = await client.embeddings.create(model="pair", input="red", user="me")
    assert len(answer.data) == 1


async def test_images_come_in_every_form(both, client, make_picture):
    picture = make_picture((200, 100, 50))
    image, plain = uri(picture), base64.b64encode(picture).decode()
    expected = (await rest(both, "colours", inputs=[{"image": plain}]))[0]
    url_part = {"type": "image_url", "image_url": {"url": image}}
    string_part = {"type": "input_image", "image_url": image}
    forms = [
        (image, {}),
        ([image], {}),
        ([plain], {"modality": "image"}),
        ([url_part], {}),
        ([[url_part], [string_part]], {}),
        ([string_part, image], {}),
    ]
    for given, extra in forms:
        answer = await client.embeddings.create(model="colours", input=given, extra_body=extra)
        assert len(answer.data) == (1 if isinstance(given, str) else len(given))
        for each in answer.data:
            # rows of a batch of another size may differ in the last bits
            np.testing.assert_allclose(each.embedding, expected, atol=1e-6)
        assert answer.usage.prompt_tokens == 0


async def test_texts_and_images_mix_in_order(both, client, make_picture):
    image = uri(make_picture("red"))
    given = ["green", image, {"type": "text", "text": "blue"}]
    answer = await client.embeddings.create(model="pair", input=given)
    green, red, blue = (np.array(each.embedding) for each in answer.data)
    words = await rest(both, "pair", inputs=[{"text": "green"}, {"text": "blue"}])
    np.testing.assert_allclose([green, blue], words, atol=1e-6)
    assert red.argmax() == 0


async def test_dimensions_cut_the_vector(client, make_picture):
    image = uri(make_picture("red"))
    answer = await client.embeddings.create(model="colours", input=image, dimensions=2)
    assert len(answer.data[0].embedding) == 2
    with pytest.raises(openai.BadRequestError, match="dimensions 2, 3, 4"):
        await client.embeddings.create(model="colours", input=image, dimensions=1)


async def test_more_inputs_than_a_call_of_the_service_takes_are_cut_up(both, client):
    count = both.service.limits.max_inputs + 1
    words = ["red"] * (count - 1) + ["blue"]
    answer = await client.embeddings.create(model="pair", input=words, encoding_format="float")
    assert len(answer.data) == count
    assert answer.usage.prompt_tokens == 3 * count
    assert answer.data[-1].embedding != answer.data[0].embedding


@pytest.mark.parametrize(
    ("given", "extra", "told"),
    [
        ("", {}, "input[0]: an input is not empty"),
        (["red", ""], {}, "input[1]: an input is not empty"),
        ([], {}, "1 to 2048"),
        (["red"] * 2049, {}, "1 to 2048"),
        ([1, 2], {}, "token ids"),
        ([[1, 2]], {}, "token ids"),
        (None, {}, "a string or a content part"),
        ([{"type": "image_url", "image_url": {"url": "https://a.b/c"}}], {}, "not linked"),
        ([{"type": "video"}], {}, "a content part has type"),
        ([[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]], {}, "several parts"),
        ("red", {"modality": "audio"}, "modality is text or image"),
        ("red", {"encoding_format": "int8"}, "encoding_format is float or base64"),
        ("red", {"dimensions": "2"}, "dimensions"),
        ("red", {"temperature": 1}, "field 'temperature' is unknown"),
    ],
)
async def test_bad_inputs_are_refused_in_the_shape_of_openai(both, given, extra, told):
    body = {"model": "pair", "input": given, **extra}
    response = await both.http.post("/v1/embeddings", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert told in error["message"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code", "request_id"}


async def test_errors_are_the_classes_of_the_client(client):
    with pytest.raises(openai.NotFoundError) as caught:
        await client.embeddings.create(model="none", input="red")
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id


async def test_a_bug_has_the_shape_of_openai(both, client):
    class Broken(type(both.service)):
        async def embed(self, *args, **kwargs):
            raise RuntimeError("secret")

    both.service.__class__ = Broken
    with pytest.raises(openai.InternalServerError, match="internal error") as caught:
        await client.embeddings.create(model="pair", input="red")
    assert "secret" not in str(caught.value)
    assert caught.value.type == "server_error"


async def test_the_client_lists_and_retrieves_models(client):
    models = {model.id: model async for model in client.models.list()}
    assert {"colours", "pair.text"} <= set(models)
    assert models["colours"].object == "model"
    assert models["colours"].owned_by
    assert (await client.models.retrieve("colours")).id == "colours"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("none")
