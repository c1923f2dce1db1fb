"""SimSiam, Triplet, MAE, MRL and their hosts, beside the code of their authors."""

import pytest

from kokeshi.contract import Interpolation, Meaning
from kokeshi.errors import SetupError, WeightsError
from kokeshi.plugin import Checkpoint, Method, Options
from kokeshi_plugins.embedders import PLUGINS

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")

pytestmark = pytest.mark.export

METHODS = {plugin.name: plugin for plugin in PLUGINS if isinstance(plugin, Method)}
CHECKPOINTS = {plugin.name: plugin for plugin in PLUGINS if isinstance(plugin, Checkpoint)}
LENGTHS = tuple(2**i for i in range(3, 12))
BLURRED = [f"layer{i}.0.{name}" for i in (2, 3, 4) for name in ("conv2", "downsample.0")]
# A float32 sum in another order moves a unit vector's elements by about 1e-7.
RTOL, ATOL = 1e-3, 2e-6


def shapes_of(network):
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def under(prefix, shapes):
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def resnet50_shapes(head):
    """Published names of a ResNet-50; nothing is allocated."""
    with torch.device("meta"):
        shapes = shapes_of(torchvision.models.resnet50())
    return {name: shape for name, shape in shapes.items() if head or name[:3] != "fc."}


def vit_shapes(pool):
    with torch.device("meta"):
        shapes = shapes_of(timm.create_model("vit_base_patch16_224", global_pool=pool))
    return {name: shape for name, shape in shapes.items() if pool == "avg" or name[:5] != "head."}


def loaded(method, variant, state, settings=(), **asked):
    """The part that `kokeshi export` would make of converted weights, without drawing others."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    options = Options(variant=variant, shapes=shapes, settings=dict(settings), **asked)
    with torch.device("meta"):
        recipe = METHODS[method].build(options)
    recipe.network.load_state_dict(state, assign=True)
    (part,) = recipe.parts
    part.module.eval()
    return part


def run(part, images):
    with torch.inference_mode():
        outputs = part.module(images)
    assert [tuple(output.shape[1:]) for output in outputs] == [out.shape for out in part.outputs]
    return dict(zip([out.name for out in part.outputs], outputs, strict=True))


def published(keyed, name):
    """Weights in the authors' names and the checkpoint or method that reads them."""
    if name == "simsiam":
        shapes = under("module.encoder.", resnet50_shapes(head=False))
        # What is dropped: the projector in the place of fc, and the predictor.
        shapes |= {"module.encoder.fc.0.weight": (4, 4), "module.predictor.0.weight": (4, 4)}
        return keyed.keyed_state(shapes, 1, gain=1.0), CHECKPOINTS["simsiam"]
    if name == "simsiam_linear":
        shapes = under("module.", resnet50_shapes(head=True))
        return keyed.keyed_state(shapes, 1, gain=1.0), CHECKPOINTS["simsiam_linear"]
    if name == "mae":
        state = keyed.keyed_state(vit_shapes("token"), 11)
        state |= {"mask_token": torch.zeros(1), "decoder_pred.weight": torch.zeros(1)}
        return state, CHECKPOINTS["mae_vit_base_patch16"]
    state = keyed.keyed_state(vit_shapes("avg"), 11)
    return state, CHECKPOINTS["mae_finetuned_vit_base_patch16"]


def published_mrl(keyed, name):
    shapes = resnet50_shapes(head=name == "mrl_e")
    if name == "mrl":
        for i, length in enumerate(LENGTHS):
            shapes[f"fc.nesting_classifier_{i}.weight"] = (1000, length)
            shapes[f"fc.nesting_classifier_{i}.bias"] = (1000,)
    constants = {}
    for conv in BLURRED:
        shape = shapes[f"{conv}.conv.weight"] = shapes.pop(f"{conv}.weight")
        blur = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
        constants[f"module.{conv}.blur_filter"] = blur.expand(shape[1], 1, 3, 3)
    return keyed.keyed_state(under("module.", shapes), 251, gain=1.0) | constants


@pytest.mark.parametrize("name", ["simsiam", "simsiam_linear", "mae", "mae_finetuned"])
def test_a_published_checkpoint_gives_the_figures_of_the_authors_code(keyed, name):
    state, checkpoint = published(keyed, name)
    settings = checkpoint.settings
    part = loaded(checkpoint.method, checkpoint.variant, checkpoint.convert(state), settings)
    found = run(part, keyed.keyed_input(2, 224, 224, 0))
    wanted = keyed.read_golden(name)["figures"]
    for output, figures in wanted.items():
        keyed.assert_figures(found[output], figures, rtol=RTOL, atol=ATOL)
    assert ("probabilities" in found) == ("probabilities" in wanted or name == "simsiam_linear")


@pytest.mark.parametrize("name", ["mrl", "mrl_e"])
def test_mrl_gives_the_figures_of_the_authors_code_at_every_length(keyed, name):
    state = METHODS["mrl"].convert(published_mrl(keyed, name))
    part = loaded("mrl", "resnet50_mrl", state)
    found = run(part, keyed.keyed_input(2, 224, 224, 0))
    wanted = keyed.read_golden(name)["figures"]
    assert found.keys() == wanted.keys()
    for output, figures in wanted.items():
        keyed.assert_figures(found[output], figures, rtol=RTOL, atol=ATOL)


def test_the_triplet_network_gives_the_figures_of_a_transcription_of_the_authors_layers(keyed):
    with torch.device("meta"):
        convolutions = [
            torch.nn.Conv2d(*sizes)
            for sizes in ((3, 64, 5), (64, 128, 3), (128, 256, 3), (256, 128, 2))
        ]
    shapes = {
        f"{4 * i}.{name}": shape
        for i, conv in enumerate(convolutions)
        for name, shape in shapes_of(conv).items()
    }
    flat = torch.cat([tensor.flatten() for tensor in keyed.keyed_state(shapes, 6).values()])
    part = loaded("triplet", "triplet", METHODS["triplet"].convert({"weights": flat}))
    assert part.input.mean == (0.4734,) * 3
    images = keyed.keyed_input(4, 32, 32, 0, mean=part.input.mean, std=part.input.std)
    found = run(part, images)["embedding"]
    golden = keyed.read_golden("triplet")["figures"]["embedding"]
    keyed.assert_figures(found, golden, rtol=RTOL, atol=ATOL)
    assert found.min() == 0
    assert found.norm(dim=1).min() > 1.5
    assert (part.outputs[0].metric, part.outputs[0].normalised) == ("l2", False)


def test_resnet_agrees_with_torchvision_under_names_that_training_left_behind(keyed):
    with torch.device("meta"):
        theirs = torchvision.models.resnet18(num_classes=7).eval()
    state = keyed.keyed_state(under("module.", shapes_of(theirs)), 2, gain=1.0)
    state = METHODS["resnet"].convert(state)
    theirs.load_state_dict(state, assign=True)
    found = run(loaded("resnet", "resnet18", state), keyed.keyed_input(2, 224, 224, 0))
    with torch.inference_mode():
        probabilities = theirs(keyed.keyed_input(2, 224, 224, 0)).softmax(1)
        theirs.fc = torch.nn.Identity()
        embedding = torch.nn.functional.normalize(theirs(keyed.keyed_input(2, 224, 224, 0)))
    torch.testing.assert_close(found["probabilities"], probabilities)
    torch.testing.assert_close(found["embedding"], embedding)


def test_vit_with_a_norm_before_the_pooling_classifies_by_its_class_token(keyed):
    with torch.device("meta"):
        theirs = timm.create_model("vit_tiny_patch16_224", num_classes=5).eval()
    state = keyed.keyed_state(shapes_of(theirs), 3)
    theirs.load_state_dict(state, assign=True)
    found = run(loaded("vit", "vit_tiny_patch16_224", state), keyed.keyed_input(2, 224, 224, 0))
    with torch.inference_mode():
        probabilities = theirs(keyed.keyed_input(2, 224, 224, 0)).softmax(1)
    torch.testing.assert_close(found["probabilities"], probabilities)


def test_vit_weights_serve_at_a_size_they_were_not_trained_for(keyed):
    with torch.device("meta"):
        trained = timm.create_model("vit_tiny_patch16_224", num_classes=0)
        resized = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=256).eval()
    state = keyed.keyed_state(shapes_of(trained), 3)
    part = loaded("vit", "vit_tiny_patch16_224", state, image_size=256)
    stretched = timm.models.vision_transformer.checkpoint_filter_fn(state, resized)
    resized.load_state_dict(stretched, assign=True)
    images = keyed.keyed_input(2, 256, 256, 0)
    with torch.inference_mode():
        wanted = torch.nn.functional.normalize(resized(images))
    torch.testing.assert_close(run(part, images)["embedding"], wanted)
    assert (part.input.height, part.input.resize_size) == (256, 256)


def test_vit_takes_the_image_size_from_the_position_table():
    shapes = {"pos_embed": (1, 1 + 18 * 18, 192)}
    with torch.device("meta"):
        (part,) = METHODS["vit"].build(Options("vit_tiny_patch16_224", shapes=shapes)).parts
    assert (part.input.height, part.input.resize_size) == (288, 288)


def test_mrl_declares_its_lengths_and_a_head_for_each(keyed):
    (part,) = METHODS["mrl"].build(Options("resnet18_mrl", image_size=64)).parts
    heads = {out.dimension: out.name for out in part.outputs if out.name != "embedding"}
    assert heads == {None: "probabilities"} | {
        length: f"probabilities_{length}" for length in (8, 16, 32, 64, 128, 256)
    }
    (embedding,) = [out for out in part.outputs if out.meaning is Meaning.EMBEDDING]
    assert embedding.dimensions == (8, 16, 32, 64, 128, 256, 512)
    outputs = run(part, keyed.keyed_input(2, 64, 64, 0))
    assert outputs["embedding"].norm(dim=1) == pytest.approx(1, abs=1e-5)


def test_mrl_nests_from_where_its_heads_do(keyed):
    network = METHODS["mrl"].build(Options("resnet18_mrl")).network.state_dict()
    state = {name: tensor for name, tensor in network.items() if name[:3] != "fc."}
    assert loaded("mrl", "resnet18_mrl", state).outputs[0].dimensions[0] == 8
    for i, length in enumerate((64, 512)):
        state[f"fc.nesting_classifier_{i}.weight"] = torch.zeros(3, length)
        state[f"fc.nesting_classifier_{i}.bias"] = torch.zeros(3)
    assert loaded("mrl", "resnet18_mrl", state).outputs[1].dimensions == (64, 512)


def test_mrl_e_reads_the_older_and_the_newer_name_of_its_head_alike():
    rest = {"module.layer2.0.downsample.0.blur_filter": torch.zeros(1)}
    convert = METHODS["mrl"].convert
    old = convert(rest | {"module.fc.weight": torch.ones(1), "module.fc.bias": torch.zeros(1)})
    new = convert(
        rest
        | {
            "module.fc.nesting_classifier_0.weight": torch.ones(1),
            "module.fc.nesting_classifier_0.bias": torch.zeros(1),
        }
    )
    assert old == new


def test_mrl_refuses_a_fixed_feature_baseline():
    shapes = {"fc.nesting_classifier_0.weight": (1000, 256)}
    with pytest.raises(WeightsError, match="up to 2048, got 256"):
        METHODS["mrl"].build(Options("resnet50_mrl", shapes=shapes))


def test_mrl_drops_the_shorter_heads_when_another_layer_is_the_embedding():
    options = Options("resnet18_mrl", image_size=64, embedding_layer="layer3")
    (part,) = METHODS["mrl"].build(options).parts
    assert {out.name: out.shape for out in part.outputs} == {
        "probabilities": (1000,),
        "embedding": (256,),
    }


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (METHODS["resnet"], "blocks.0.attn.qkv.weight"),
        (METHODS["vit"], "layer1.0.conv1.weight"),
        (METHODS["mrl"], "fc.weight"),
        (METHODS["triplet"], "conv1.weight"),
        (CHECKPOINTS["simsiam"], "module.conv1.weight"),
        (CHECKPOINTS["mae_vit_base_patch16"], "blocks.0.attn.qkv.weight"),
        (CHECKPOINTS["mae_finetuned_vit_base_patch16"], "blocks.0.attn.qkv.weight"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_file_of_another_network_is_refused(owner, name):
    with pytest.raises(WeightsError, match=r"missing|expected"):
        owner.convert({name: torch.zeros(1), "other": torch.zeros(1)})


def test_a_vector_of_another_length_is_no_triplet_network():
    with pytest.raises(WeightsError, match="505088"):
        METHODS["triplet"].convert({"weights": torch.zeros(1000)})


@pytest.mark.parametrize(
    ("method", "variant"), [("triplet", None), ("vit", "vit_tiny_patch16_224")]
)
def test_an_image_size_that_does_not_fit_is_refused(method, variant):
    with pytest.raises(SetupError, match="100"):
        METHODS[method].build(Options(variant or method, image_size=100))


@pytest.mark.parametrize("checkpoint", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_checkpoint_names_a_method_that_builds_what_it_holds(checkpoint):
    method = METHODS[checkpoint.method]
    assert checkpoint.variant in method.variants
    with torch.device("meta"):
        (part,) = method.build(Options(checkpoint.variant, settings=checkpoint.settings)).parts
    contract = part.input
    assert (contract.height, contract.resize_size) == (224, 256)
    assert contract.mean == (0.485, 0.456, 0.406)
    assert (contract.interpolation is Interpolation.BICUBIC) == (checkpoint.rows == (11,))
    encoder = checkpoint.name.startswith(("mae_vit", "simsiam")) and "linear" not in checkpoint.name
    assert (part.outputs[0].name == "embedding") == encoder
