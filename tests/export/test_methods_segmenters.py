"""The segmenters against their authors' code and their library's class, and their rules."""

import pytest

from kokeshi.contract import ImageInput, Resize
from kokeshi.errors import SetupError, WeightsError
from kokeshi.plugin import Options
from kokeshi_plugins.segmenters import basnet, lraspp

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytestmark = pytest.mark.export

LRASPP = "lraspp_mobilenet_v3_large"


def shapes_of(state):
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def ran(module, *inputs):
    with torch.no_grad():
        return module.eval()(*inputs)


@pytest.fixture(scope="module")
def published(keyed):
    """The authors' file, with their names."""
    golden = keyed.read_golden("basnet")
    shapes = {
        name: tuple(int(side) for side in text.split("x") if side)
        for name, text in golden["published"].items()
    }
    return keyed.keyed_state(shapes, golden["seed"], golden["gain"])


@pytest.fixture(scope="module")
def served(published):
    """BASNet at 64 pixels with the authors' weights."""
    recipe = basnet.METHOD.build(Options(variant="basnet", image_size=64))
    recipe.network.load_state_dict(basnet.convert(published))
    return recipe.parts[0].module.eval()


def images_of(keyed):
    """In [0, 0.9], so that dividing by an image's own maximum changes something."""
    return keyed.keyed_input(2, 64, 64, 0, mean=(0, 0, 0), std=(1, 1, 1)).clamp(0, 0.9)


def test_basnet_gives_the_figures_of_the_authors_script(served, keyed):
    golden = keyed.read_golden("basnet")

    (found,) = ran(served, images_of(keyed))

    keyed.assert_figures(found, golden["figures"]["foreground"], rtol=1e-4, atol=1e-5)
    assert max(golden["worst_difference"].values()) < 1e-5


def test_the_foreground_spans_0_to_1_whatever_the_brightness(served, keyed):
    images = images_of(keyed)

    (found,) = ran(served, images)
    (darker,) = ran(served, images / 2)

    torch.testing.assert_close(found.amin((1, 2)), torch.zeros(2))
    torch.testing.assert_close(found.amax((1, 2)), torch.ones(2))
    torch.testing.assert_close(darker, found, rtol=1e-3, atol=1e-4)


def test_a_black_image_and_a_constant_map_give_numbers(served):
    from kokeshi_plugins.networks.basnet import Foreground

    class Constant(torch.nn.Module):
        def forward(self, x):
            return torch.zeros_like(x[:, :1])

    black = torch.zeros(1, 3, 64, 64)

    assert ran(served, black)[0].isfinite().all()
    assert not ran(Foreground(Constant()), black)[0].any()


def test_the_side_outputs_of_basnet_are_left_out(published):
    dropped = [f"outconv{stage}" for stage in "b23456"]
    converted = basnet.convert(published)

    assert len(converted) == len(published) - 2 * len(dropped)
    assert not any(name.startswith(tuple(dropped)) for name in converted)


def test_converting_basnet_twice_changes_nothing(published):
    once = basnet.convert({f"module.{name}": value for name, value in published.items()})

    assert basnet.convert(once) == once


def test_the_first_file_of_basnet_is_refused(published):
    old = published | {
        "bn6d_2.running_mean": torch.zeros(512),
        "bn6d_2.running_var": torch.ones(512),
    }

    with pytest.raises(WeightsError, match="before September 2019"):
        basnet.convert(old)


@pytest.mark.parametrize("method", [basnet.METHOD, lraspp.METHOD])
def test_a_file_of_another_network_is_refused(method):
    with pytest.raises(WeightsError, match="missing"):
        method.convert({"conv1.weight": torch.zeros(64, 3, 7, 7)})


def test_basnet_squashes_and_normalises_inside_the_graph():
    contract = basnet.METHOD.build(Options(variant="basnet")).parts[0].input

    assert contract == ImageInput(
        height=256, width=256, resize=Resize.SQUASH, mean=(0, 0, 0), std=(1, 1, 1)
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"image_size": 100}, "multiple of 32, not 100"), ({"classes": 2}, "takes no labels")],
)
def test_basnet_refuses_what_it_cannot_be(options, complaint):
    with pytest.raises(SetupError, match=complaint):
        basnet.METHOD.build(Options(variant="basnet", **options))


def test_lraspp_gives_the_labels_of_torchvisions_class(keyed):
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    golden = keyed.read_golden("lraspp")
    network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    shapes = shapes_of(network.state_dict())
    state = keyed.keyed_state(shapes, golden["seed"], golden["gain"])
    network.load_state_dict(state)
    images = keyed.keyed_input(2, 256, 256, 0)
    recipe = lraspp.METHOD.build(Options(variant=LRASPP, shapes=shapes, image_size=256))
    recipe.network.load_state_dict(lraspp.convert(state))

    (found,) = ran(recipe.parts[0].module, images)

    assert found.dtype == torch.uint8
    assert torch.equal(found, ran(network, images)["out"].argmax(1).to(torch.uint8))
    # On another machine a pixel between two classes may fall to the other side.
    keyed.assert_figures(found, golden["figures"]["label_map"], rtol=1e-2, atol=1e-2)


def test_lraspp_squashes_to_520_pixels_and_knows_the_classes_of_voc():
    recipe = lraspp.METHOD.build(Options(variant=LRASPP))

    assert recipe.parts[0].input == ImageInput(height=520, width=520, resize=Resize.SQUASH)
    assert recipe.labels[:2] == ("__background__", "aeroplane")
    assert len(recipe.labels) == 21


def test_lraspp_has_as_many_classes_as_its_weights():
    shapes = {"classifier.low_classifier.weight": (4, 40, 1, 1)}
    recipe = lraspp.METHOD.build(Options(variant=LRASPP, shapes=shapes))

    assert recipe.network.classifier.high_classifier.out_channels == 4
    assert recipe.labels == ()


def test_a_label_map_holds_256_classes_at_most():
    with pytest.raises(SetupError, match="at most 256 classes, not 300"):
        lraspp.METHOD.build(Options(variant=LRASPP, classes=300))


def test_a_segmenter_can_give_a_layer_as_embedding_beside_its_map():
    options = Options(variant=LRASPP, image_size=64, embedding_layer="backbone.16")
    part = lraspp.METHOD.build(options).parts[0]

    labels, embedding = ran(part.module, torch.rand(2, 3, 64, 64))

    assert [output.name for output in part.outputs] == ["label_map", "embedding"]
    assert (labels.shape, embedding.shape) == ((2, 64, 64), (2, 960))
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
