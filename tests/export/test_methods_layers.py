"""Any layer of a network as the embedding."""

import pytest

from kokeshi.contract import ImageInput, Meaning
from kokeshi.errors import SetupError
from kokeshi.plugin import Options
from kokeshi_plugins.backbones import mobilenet_v3, swin

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("torchvision")
pytestmark = pytest.mark.export

IMAGE = torch.Size((64, 32))


@pytest.fixture(scope="module")
def network():
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small(weights=None).eval()


def embedder(network, layer):
    from kokeshi_plugins.networks.layers import WithEmbedding, find_layer

    return WithEmbedding(network, (), find_layer(network, layer), channels_last=False)


def test_a_layers_maps_are_averaged_over_the_image(network):
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        (found,) = embedder(network, "features.8")(images)
        expected = network.features[:9](images).mean((2, 3))

    torch.testing.assert_close(found, torch.nn.functional.normalize(expected))


def test_reading_a_layer_leaves_no_hook_and_no_second_name_for_weights(network):
    module = embedder(network, "features.8")
    with torch.no_grad():
        module(torch.rand(2, 3, 64, 64))

    assert not network.features[8]._forward_hooks
    assert set(module.state_dict()) == {f"module.{name}" for name in network.state_dict()}


def test_an_unknown_layer_is_answered_with_near_ones(network):
    with pytest.raises(SetupError, match=r"no layer 'feature\.8'; it has .*'features\.8'"):
        embedder(network, "feature.8")


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((2, 7, 8, 4), (2, 3)), ((2, 8, 4, 7), (1, 2)), ((2, 9, 7), 1), ((2, 7, 4, 4), (2, 3))],
)
def test_maps_and_tokens_are_averaged_over_their_places(shape, axes):
    from kokeshi_plugins.networks.layers import pooled

    values = torch.rand(shape)

    torch.testing.assert_close(pooled(values, IMAGE), values.mean(axes))


def test_a_vector_is_taken_as_it_is():
    from kokeshi_plugins.networks.layers import pooled

    values = torch.rand(2, 7)

    assert pooled(values, IMAGE) is values


@pytest.mark.parametrize("output", [torch.rand(2), torch.rand(2, 3, 4, 5, 6), (torch.rand(2, 3),)])
def test_what_is_no_map_no_token_and_no_vector_is_refused(output):
    from kokeshi_plugins.networks.layers import pooled

    with pytest.raises(SetupError, match="must give maps"):
        pooled(output, IMAGE)


def test_maps_with_the_channels_last_are_read_as_such():
    images = torch.rand(1, 3, 224, 224)
    recipe = swin.METHOD.build(Options(variant="swin_tiny", embedding_layer="layers.0"))
    part = recipe.parts[0]
    with torch.no_grad():
        embedding = part.module.eval()(images)[1]
        maps = recipe.network.layers[0](recipe.network.patch_embed(images))

    assert part.outputs[1].shape == (96,)
    torch.testing.assert_close(embedding, torch.nn.functional.normalize(maps.mean((1, 2))))


def test_a_layer_inside_windowed_attention_has_no_row_per_image():
    options = Options(variant="swin_tiny", embedding_layer="layers.0.blocks.0.attn.proj")

    with pytest.raises(SetupError, match="2 rows for 2 images"):
        swin.METHOD.build(options)


def test_the_graph_of_a_chosen_layer_has_a_batch_of_any_size(network, tmp_path):
    import onnxruntime

    options = Options(
        variant="mobilenet_v3_small", classes=5, image_size=64, embedding_layer="features.8"
    )
    part = mobilenet_v3.METHOD.build(options).parts[0]
    rows = {0: torch.export.Dim("rows", min=1, max=64)}
    torch.onnx.export(
        part.module.eval(),
        (torch.rand(2, 3, 64, 64),),
        tmp_path / "model.onnx",
        dynamo=True,
        dynamic_shapes=(rows,),
        opset_version=20,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")

    assert isinstance(part.input, ImageInput)
    assert [output.meaning for output in part.outputs] == [Meaning.PROBABILITIES, Meaning.EMBEDDING]
    for count in (1, 2, 5):
        images = torch.rand(count, 3, 64, 64)
        found = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        with torch.no_grad():
            expected = part.module(images)
        for value, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(value), wanted, rtol=1e-3, atol=1e-5)
