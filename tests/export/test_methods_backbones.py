"""The backbones against their authors' code and their libraries' classes, and their rules."""

from math import floor

import pytest

from kokeshi.contract import ImageInput, Interpolation, Meaning, Resize
from kokeshi.errors import SetupError, WeightsError
from kokeshi.plugin import Checkpoint, Method, Options
from kokeshi_plugins.backbones import PLUGINS, convnext, mobilenet_v2, mobilenet_v3, swin
from kokeshi_plugins.backbones.off_the_shelf import (
    TIMM,
    TORCHVISION,
    published_by_timm,
    published_by_torchvision,
    timm_contract,
)
from kokeshi_plugins.backbones.torchvision_classifier import contract_of

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("torchvision")
pytestmark = pytest.mark.export

METHODS = {plugin.name: plugin for plugin in PLUGINS if isinstance(plugin, Method)}


def shapes_of(state):
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def built(method, variant, state=None, **options):
    shapes = shapes_of(state) if state else {}
    recipe = method.build(Options(variant=variant, shapes=shapes, **options))
    if state:
        recipe.network.load_state_dict(state)
    recipe.parts[0].module.eval()
    return recipe


def answers(recipe, images):
    with torch.no_grad():
        values = recipe.parts[0].module(images)
    return {
        output.name: value for output, value in zip(recipe.parts[0].outputs, values, strict=True)
    }


def published_file(golden, keyed, folder):
    """The authors' file: their names, their container, and their computed buffers as zeros."""
    shapes = {
        name: tuple(int(side) for side in text.split("x") if side)
        for name, text in golden["published"].items()
    }
    computed = ("relative_position_index", "attn_mask")
    learnt = {name: shape for name, shape in shapes.items() if not name.endswith(computed)}
    zeros = {name: torch.zeros(shape) for name, shape in shapes.items() if name not in learnt}
    state = keyed.keyed_state(learnt, golden["seed"], golden["gain"]) | zeros
    torch.save({golden["container"]: state, "epoch": 299}, folder / "published.pth")
    return folder / "published.pth"


@pytest.mark.parametrize("name", ["convnext", "swin"])
def test_a_file_of_the_authors_gives_the_figures_of_the_authors_code(name, keyed, tmp_path):
    from kokeshi.export.weights import converted, fit, load

    golden, method = keyed.read_golden(name), METHODS[name]
    weights = load(published_file(golden, keyed, tmp_path), "")
    state = converted(weights, method.convert)
    recipe = method.build(Options(variant=golden["variant"], shapes=shapes_of(state)))
    fit(recipe.network, state, weights.source)
    recipe.parts[0].module.eval()

    found = answers(recipe, keyed.keyed_input(2, 224, 224, 0))

    for output, figures in golden["figures"].items():
        keyed.assert_figures(found[output], figures, rtol=1e-4, atol=1e-6)
    assert max(max(worst.values()) for worst in golden["worst_difference"].values()) < 1e-6


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3", "off_the_shelf"])
def test_a_file_of_the_library_gives_the_figures_of_the_librarys_class(name, keyed):
    import timm
    import torchvision

    golden = keyed.read_golden(name)
    method, variant = METHODS[golden["method"]], golden["variant"]
    library = timm.create_model if method is TIMM else torchvision.models.get_model
    network = library(variant).eval()
    state = keyed.keyed_state(shapes_of(network.state_dict()), golden["seed"], golden["gain"])
    network.load_state_dict(state)
    images = keyed.keyed_input(2, 224, 224, 0)

    found = answers(built(method, variant, method.convert(state)), images)

    for output, figures in golden["figures"].items():
        keyed.assert_figures(found[output], figures, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(found["probabilities"], network(images).softmax(1))


def test_the_authors_computed_buffers_do_not_reach_swin():
    state = {
        "layers.0.blocks.0.attn.relative_position_bias_table": torch.zeros(169, 3),
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49),
        "layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49),
        "layers.0.downsample.reduction.weight": torch.zeros(192, 384),
        "head.weight": torch.zeros(5, 768),
    }

    assert set(swin.convert(state)) == {
        "layers.0.blocks.0.attn.relative_position_bias_table",
        "layers.1.downsample.reduction.weight",
        "head.fc.weight",
    }


@pytest.mark.parametrize("name", ["convnext", "swin", "mobilenet_v2", "mobilenet_v3"])
def test_a_file_of_another_network_is_refused(name):
    with pytest.raises(WeightsError, match="missing"):
        METHODS[name].convert({"conv1.weight": torch.zeros(64, 3, 7, 7)})


@pytest.mark.parametrize("name", ["convnext", "swin", "mobilenet_v2", "mobilenet_v3"])
def test_converting_twice_changes_nothing(name):
    method = METHODS[name]
    state = method.build(Options(variant=method.variants[0], image_size=224)).network.state_dict()

    once = method.convert({f"module.{key}": value for key, value in state.items()})

    assert list(method.convert(once)) == list(once) == list(state)


def test_convnext_crops_below_384_pixels_and_squashes_from_there():
    small, large = convnext.contract(224), convnext.contract(384)

    assert (small.height, small.resize, small.resize_size) == (224, Resize.SHORTEST, 256)
    assert (large.height, large.resize, large.resize_size) == (384, Resize.SQUASH, None)
    assert small.interpolation is large.interpolation is Interpolation.BICUBIC


def test_swin_crops_224_pixels_and_squashes_384():
    small, large = swin.contract_of("swin_tiny", 224), swin.contract_of("swin_base_384", 384)

    assert (small.height, small.resize, small.resize_size) == (224, Resize.SHORTEST, 256)
    assert (large.height, large.resize, large.resize_size) == (384, Resize.SQUASH, None)
    assert small.interpolation is large.interpolation is Interpolation.BICUBIC


def test_swin_refuses_a_size_that_leaves_half_windows():
    with pytest.raises(SetupError, match="multiple of 224, not 256"):
        swin.METHOD.build(Options(variant="swin_tiny", image_size=256))


@pytest.mark.parametrize(("recipe", "margin"), [("v1", 256), ("v2", 232)])
def test_a_checkpoint_brings_the_contract_it_was_published_with(recipe, margin):
    checkpoints = {plugin.name: plugin for plugin in PLUGINS if isinstance(plugin, Checkpoint)}
    settings = checkpoints[f"mobilenet_v2_imagenet1k_{recipe}"].settings

    found = built(mobilenet_v2.METHOD, "mobilenet_v2", settings=settings).parts[0].input

    assert found == ImageInput(height=224, width=224, resize_size=margin)


def test_a_checkpoint_for_384_pixels_is_built_for_384():
    checkpoints = {plugin.name: plugin for plugin in PLUGINS if isinstance(plugin, Checkpoint)}
    settings = checkpoints["convnext_tiny_22k_1k_384"].settings

    recipe = built(convnext.METHOD, "convnext_tiny", settings=settings)

    assert recipe.parts[0].input == convnext.contract(384)


def test_another_image_size_keeps_the_margin_of_the_crop():
    recipe = built(mobilenet_v3.METHOD, "mobilenet_v3_small", image_size=112)

    assert recipe.parts[0].input == ImageInput(height=112, width=112, resize_size=128)


@pytest.mark.parametrize(
    ("method", "variant", "head"),
    [
        (mobilenet_v3.METHOD, "mobilenet_v3_small", "classifier.3"),
        (TIMM, "resnet18", "fc"),
        (TORCHVISION, "squeezenet1_1", "classifier.1"),
    ],
)
def test_the_weights_say_how_many_classes_there_are(method, variant, head):
    state = built(method, variant, classes=7, image_size=64).network.state_dict()
    assert state[f"{head}.weight"].shape[0] == 7

    recipe = built(method, variant, state, image_size=64)

    assert recipe.parts[0].outputs[0].shape == (7,)
    assert recipe.labels == ()


def test_the_labels_given_win_over_the_weights():
    recipe = mobilenet_v3.METHOD.build(
        Options(
            variant="mobilenet_v3_small", shapes={"classifier.3.weight": (1000, 1024)}, classes=3
        )
    )

    assert recipe.parts[0].outputs[0].shape == (3,)
    assert recipe.labels == ()


@pytest.mark.parametrize(
    ("method", "variant", "first"),
    [
        (mobilenet_v3.METHOD, "mobilenet_v3_small", "tench"),
        (convnext.METHOD, "convnext_tiny", "tench, Tinca tinca"),
        (TIMM, "resnet18", "tench, Tinca tinca"),
        (TORCHVISION, "resnet18", "tench"),
    ],
)
def test_published_weights_come_with_the_names_of_their_classes(method, variant, first):
    labels = built(method, variant, image_size=64).labels

    assert len(labels) == 1000
    assert labels[0] == first


def test_weights_without_a_head_give_the_embedding_alone():
    state = built(TIMM, "resnet18", image_size=64).network.state_dict()
    headless = {name: value for name, value in state.items() if not name.startswith("fc.")}

    recipe = built(TIMM, "resnet18", headless, image_size=64)

    assert [output.meaning for output in recipe.parts[0].outputs] == [Meaning.EMBEDDING]
    assert answers(recipe, torch.rand(2, 3, 64, 64))["embedding"].shape == (2, 512)


def test_convnext_without_a_head_has_no_classes():
    shapes = {"stem.0.weight": (96, 3, 4, 4)}
    recipe = convnext.METHOD.build(Options(variant="convnext_tiny", shapes=shapes))

    assert [output.shape for output in recipe.parts[0].outputs] == [(768,)]


def test_a_projection_to_a_joint_space_is_no_classifier():
    recipe = built(TIMM, "fastvit_mci0.apple_mclip", image_size=64)
    images = torch.rand(2, 3, 64, 64)

    (embedding,) = answers(recipe, images).values()

    assert recipe.parts[0].outputs[0].meaning is Meaning.EMBEDDING
    with torch.no_grad():
        expected = torch.nn.functional.normalize(recipe.network(images))
    torch.testing.assert_close(embedding, expected)


def test_two_distilled_heads_answer_together():
    recipe = built(TIMM, "deit_tiny_distilled_patch16_224", image_size=32)
    images = torch.rand(2, 3, 32, 32)

    found = answers(recipe, images)

    with torch.no_grad():
        torch.testing.assert_close(found["probabilities"], recipe.network(images).softmax(1))


@pytest.mark.parametrize(
    "name", ["resnet18.a1_in1k", "mobilenetv3_small_050", "vit_tiny_patch16_384"]
)
def test_a_timm_network_keeps_the_contract_of_its_weights(name):
    from timm.data import resolve_data_config

    published = published_by_timm(name)
    expected = resolve_data_config(pretrained_cfg=published.to_dict())
    found = timm_contract(published, None)

    assert (3, found.height, found.width) == expected["input_size"]
    assert found.interpolation == expected["interpolation"]
    assert (found.mean, found.std) == (expected["mean"], expected["std"])
    assert found.resize is Resize.SHORTEST
    assert found.resize_size == floor(found.height / expected["crop_pct"])


def test_a_timm_network_whose_weights_were_squashed_is_squashed():
    found = timm_contract(published_by_timm("maxvit_tiny_tf_384.in1k"), None)

    assert (found.height, found.resize, found.resize_size) == (384, Resize.SQUASH, None)


def test_a_contract_that_the_server_cannot_keep_is_refused():
    with pytest.raises(SetupError, match="crop mode 'squash' with crop_pct 0"):
        TIMM.build(Options(variant="dm_nfnet_f0.dm_in1k"))


@pytest.mark.parametrize(
    ("name", "margin"), [("resnet18", 256), ("resnet50", 232), ("resnet50.IMAGENET1K_V1", 256)]
)
def test_a_torchvision_network_keeps_the_contract_of_its_weights(name, margin):
    found = contract_of(published_by_torchvision(name).transforms(), None)

    assert found == ImageInput(height=224, width=224, resize_size=margin)


def test_the_port_of_inception_rescales_its_input_as_its_weights_expect():
    network = built(TORCHVISION, "inception_v3", image_size=96).network

    assert network.transform_input
    assert network.AuxLogits is None


@pytest.mark.parametrize(
    ("method", "name", "near"),
    [
        (TIMM, "resnet19", "'resnet18'"),
        (TIMM, "resnet18.nobody", "resnet18.a1_in1k"),
        (TORCHVISION, "mobilnet_v2", "'mobilenet_v2'"),
        (TORCHVISION, "resnet18.IMAGENET1K_V9", "IMAGENET1K_V1"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(method, name, near):
    with pytest.raises(SetupError, match=near):
        method.build(Options(variant=name))
