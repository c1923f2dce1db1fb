"""Published weights of CLIP: OpenAI's nine, and LAION's three of the same sizes.

OpenAI's are named where open_clip republishes them as safetensors; the authors' own files are
TorchScript programs (see `clip_archive`). LAION's were trained with plain GELU, and the largest
with another mean and deviation; their settings say so.

Figures are zero-shot top-1 on ImageNet as open_clip measured them: docs/openclip_results.csv of
https://github.com/mlfoundations/open_clip at 0a1cc15.
"""

from typing import Any, Final

from kokeshi.plugin import Checkpoint, Paper

from .clip import CLIP, convert

_OPENAI: Final = (  # variant, repository, zero-shot top-1
    ("clip_vit_b_32", "timm/vit_base_patch32_clip_224.openai", 63.32),
    ("clip_vit_b_16", "timm/vit_base_patch16_clip_224.openai", 68.34),
    ("clip_vit_l_14", "timm/vit_large_patch14_clip_224.openai", 75.54),
    ("clip_vit_l_14_336", "timm/vit_large_patch14_clip_336.openai", 76.56),
    ("clip_rn50", "timm/resnet50_clip.openai", 59.82),
    ("clip_rn101", "timm/resnet101_clip.openai", 62.28),
    ("clip_rn50x4", "timm/resnet50x4_clip.openai", 66.27),
    ("clip_rn50x16", "timm/resnet50x16_clip.openai", 70.72),
    ("clip_rn50x64", "timm/resnet50x64_clip.openai", 73.91),
)
# The model card calls any deployed use out of scope, beside the licence of the repository.
_OPENAI_LICENCE: Final = "MIT (openai/CLIP); its model card holds deployed use out of scope"
_GELU: Final[dict[str, Any]] = {"quick_gelu": False}
_HALVES: Final = (0.5, 0.5, 0.5)
_LAION: Final = (
    ("clip_vit_b_32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 66.56, _GELU),
    ("clip_vit_b_16", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", 70.23, _GELU),
    (
        "clip_vit_l_14",
        "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
        75.25,
        _GELU | {"mean": _HALVES, "std": _HALVES},
    ),
)
_LAION_PAPER: Final = Paper(
    title="Reproducible scaling laws for contrastive language-image learning",
    authors="Cherti, Beaumont, Wightman, Wortsman, Ilharco, Gordon, Schuhmann, Schmidt, Jitsev",
    year=2023,
    url="https://arxiv.org/abs/2212.07143",
)


def _checkpoint(
    name: str,
    variant: str,
    repository: str,
    top1: float,
    *,
    paper: Paper,
    licence: str,
    settings: dict[str, Any],
) -> Checkpoint:
    return Checkpoint(
        name=name,
        paper=paper,
        method=CLIP.name,
        variant=variant,
        source=f"{repository}:open_clip_model.safetensors",
        licence=licence,
        convert=convert,
        settings=settings,
        rows=CLIP.rows,
        figures={"ImageNet zero-shot top-1 (%)": top1},
        summary=f"{variant} as published at {repository}",
    )


CHECKPOINTS = (
    *(
        _checkpoint(
            f"{variant}_openai",
            variant,
            repository,
            top1,
            paper=CLIP.paper,
            licence=_OPENAI_LICENCE,
            settings={},
        )
        for variant, repository, top1 in _OPENAI
    ),
    *(
        _checkpoint(
            f"{variant}_laion2b",
            variant,
            repository,
            top1,
            paper=_LAION_PAPER,
            licence="MIT",
            settings=settings,
        )
        for variant, repository, top1, settings in _LAION
    ),
)
