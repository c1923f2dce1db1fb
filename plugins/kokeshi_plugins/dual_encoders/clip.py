"""CLIP: an image tower and a text tower trained to agree on which caption belongs to which image.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
https://arxiv.org/abs/2103.00020. The authors' code: https://github.com/openai/CLIP (MIT); the
networks built here are open_clip's, which keep the authors' parameter names.

Zero-shot probabilities are the softmax over prompts of `logit_scale` times the cosine of the two
embeddings; a class with several prompts has the mean of their unit embeddings, made unit again.

Files that load: open_clip's (`open_clip_model.safetensors`, `open_clip_pytorch_model.bin`) and a
plain state dict of the authors'. The authors' own `.pt` files are TorchScript programs, which no
loader of plain weights accepts; `kokeshi_plugins.dual_encoders.clip_archive` rewrites one as
safetensors without running it.

The authors' weights were trained with QuickGELU, x * sigmoid(1.702 x), and so is what is built
unless a checkpoint's settings say otherwise: the weights themselves do not tell, and with the wrong
one the accuracy drops silently.
"""

from math import isqrt
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from kokeshi.contract import (
    ImageInput,
    Interpolation,
    Meaning,
    Output,
    Record,
    Resize,
    TextInput,
)
from kokeshi.errors import SetupError, WeightsError
from kokeshi.plugin import Method, Options, Paper, Part, Recipe

from .clip_tokenizer import END_ID, SIZE, tokenizer_json

if TYPE_CHECKING:
    from torch import Tensor, nn

MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
STD: Final = (0.26862954, 0.26130258, 0.27577711)

_LIBRARY_NAMES: Final = {
    "clip_vit_b_32": "ViT-B-32",
    "clip_vit_b_16": "ViT-B-16",
    "clip_vit_l_14": "ViT-L-14",
    "clip_vit_l_14_336": "ViT-L-14-336",
    "clip_rn50": "RN50",
    "clip_rn101": "RN101",
    "clip_rn50x4": "RN50x4",
    "clip_rn50x16": "RN50x16",
    "clip_rn50x64": "RN50x64",
}
_RESNET_STRIDE: Final = 32
_VIT_TABLE: Final = "visual.positional_embedding"
_RESNET_TABLE: Final = "visual.attnpool.positional_embedding"
_NOT_WEIGHTS: Final = {"input_resolution", "context_length", "vocab_size"}


class Settings(Record):
    """What a checkpoint may change in `Options.settings`.

    The configurations are laid over the variant's, in open_clip's words (`width`, `layers`,
    `patch_size`, `heads`...).
    """

    quick_gelu: bool = True
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    embed_dim: int | None = None
    vision_cfg: dict[str, Any] = Field(default_factory=dict)
    text_cfg: dict[str, Any] = Field(default_factory=dict)


def build(options: Options) -> Recipe:
    """Builds both towers; with an embedding layer, the image tower alone: words have no such layer.

    Raises:
        SetupError: an image size that the patches do not tile, or no such layer.
    """
    import open_clip

    settings = Settings.model_validate(dict(options.settings))
    config = _config(options, settings)
    network = open_clip.CLIP(**config, quick_gelu=settings.quick_gelu).eval()
    output = Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(config["embed_dim"],))
    image = _image_part(network, output, config["vision_cfg"]["image_size"], settings)
    if options.embedding_layer is not None:
        from kokeshi_plugins.networks.layers import with_embedding

        return Recipe(network, (with_embedding(image, network, options.embedding_layer),))
    text = _text_part(network, output, config["text_cfg"]["context_length"])
    return Recipe(network, (image, text), logit_scale_key="logit_scale")


def convert(state: dict[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Renames nothing: drops the sizes that the authors keep among the weights, and widens halves.

    Raises:
        WeightsError: the weights are not a CLIP's under the authors' names.
    """
    names = {name.removeprefix("module.").removeprefix("_orig_mod."): name for name in state}
    for expected in ("visual.conv1.weight", "token_embedding.weight"):
        if expected not in names:
            raise WeightsError(
                f"expected CLIP weights under the authors' names, with {expected!r}, "
                f"got {len(state)} tensors such as {', '.join(sorted(state)[:3])}"
            )
    kept = {new: state[old] for new, old in names.items() if new not in _NOT_WEIGHTS}
    kept = {name: x.float() if x.is_floating_point() else x for name, x in kept.items()}
    if "logit_scale" in kept:
        kept["logit_scale"] = kept["logit_scale"].reshape(())  # some releases keep it as (1,)
    return kept


def _config(options: Options, settings: Settings) -> dict[str, Any]:
    """open_clip's configuration of the variant, under the wishes of settings and options."""
    import open_clip

    config = open_clip.get_model_config(_LIBRARY_NAMES[options.variant])
    config["vision_cfg"] |= settings.vision_cfg
    config["text_cfg"] |= settings.text_cfg | {"vocab_size": SIZE}
    config["embed_dim"] = settings.embed_dim or config["embed_dim"]
    config["vision_cfg"]["image_size"] = _image_size(options, config["vision_cfg"])
    return {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}


def _image_size(options: Options, vision: dict[str, Any]) -> int:
    """Pixels a side: as asked, else what the position table of the weights was learnt for."""
    patch = vision.get("patch_size") or _RESNET_STRIDE
    table = _VIT_TABLE if vision.get("patch_size") else _RESNET_TABLE
    learnt = isqrt(options.shapes[table][0] - 1) * patch if table in options.shapes else None
    size = options.image_size or learnt or vision["image_size"]
    if size % patch:
        raise SetupError(
            f"{options.variant!r} takes an image size that is a multiple of {patch}, got {size}"
        )
    return int(size)


def _image_part(network: "nn.Module", output: Output, size: int, settings: Settings) -> Part:
    from kokeshi_plugins.networks.heads import Embed

    contract = ImageInput(
        height=size,
        width=size,
        resize=Resize.SHORTEST,
        resize_size=size,
        interpolation=Interpolation.BICUBIC,
        mean=settings.mean,
        std=settings.std,
    )
    return Part(Embed(network.visual).eval(), contract, (output,), role="image")


def _text_part(network: "nn.Module", output: Output, context_length: int) -> Part:
    from kokeshi_plugins.networks.clip import TextTower
    from kokeshi_plugins.networks.heads import Embed

    contract = TextInput(context_length=context_length, pad_id=0, end_id=END_ID)
    files = {contract.tokenizer: tokenizer_json(context_length)}
    module = Embed(TextTower(network)).eval()
    return Part(module, contract, (output,), role="text", files=files)


CLIP = Method(
    name="clip",
    paper=Paper(
        title="Learning Transferable Visual Models From Natural Language Supervision",
        authors="Radford, Kim, Hallacy, Ramesh, Goh, Agarwal, Sastry, Askell, Mishkin, Clark, "
        "Krueger, Sutskever",
        year=2021,
        url="https://arxiv.org/abs/2103.00020",
    ),
    licence="MIT",
    variants=tuple(_LIBRARY_NAMES),
    build=build,
    convert=convert,
    rows=(227,),
    summary="image and text towers in one space: cross-modal search and zero-shot classes",
)
