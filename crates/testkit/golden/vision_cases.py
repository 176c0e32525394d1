"""The tiny models of make_vision.py: one `Case` for every encoder, for every kind of checkpoint that it is published as,
and for images of another size than the model's.

Widths are small against the rows of a batch (images x tokens), eps is far from every default, and Swin's windows are padded and
shifted, so that what an encoder does shows in its logits.
"""

from dataclasses import dataclass, field

from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPForImageClassification,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionModel,
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    DeiTImageProcessor,
    Dinov2Config,
    Dinov2ForImageClassification,
    PreTrainedConfig,
    SiglipConfig,
    SiglipForImageClassification,
    SiglipImageProcessor,
    SiglipModel,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

CLASSES = 7
ATTENTION = ["q_proj", "k_proj", "v_proj"]
MLP = ["fc1", "fc2"]
VIT = [*ATTENTION, "o_proj", *MLP]
SWIGLU = [*ATTENTION, "o_proj", "gate_proj", "up_proj", "down_proj"]
CLIP = [*ATTENTION, "out_proj", *MLP]
SWIN = [*VIT, "reduction"]

NAMES = ["ankle boot", "bag", "coat", "dress", "sandal", "shirt", "trouser"]
LABELS = dict(id2label=dict(enumerate(NAMES)), label2id={name: number for number, name in enumerate(NAMES)})
SHAPE = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=16, patch_size=4, layer_norm_eps=1e-2)
MLP_SHAPE = dict(intermediate_size=40)
LARGER = dict(image_size=20)
# Of the further cases of an encoder.
SMALL = dict(hidden_size=16, num_attention_heads=2)
SMALL_MLP = dict(**SMALL, intermediate_size=28)
TINY = dict(hidden_size=8, num_attention_heads=2, intermediate_size=12, num_hidden_layers=1, image_size=8)
TEXT = dict(vocab_size=8, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
            max_position_embeddings=4, bos_token_id=1, eos_token_id=2)  # fmt: skip
SWIN_SHAPE = dict(patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 4], window_size=4, mlp_ratio=2.0, layer_norm_eps=1e-2)


@dataclass
class Case:
    """A tiny model, its adapter and the images that it is run on."""

    seed: int
    config: PreTrainedConfig
    runs: type  # the model for classification
    processor: object  # of its images
    saved: type | None = None  # the model whose checkpoint is on disk, if it has no `classifier`
    targets: list = field(default_factory=lambda: VIT)
    exclude: str | None = None  # LoRA's exclude_modules
    size: tuple | None = None  # height and width of the images where they are not the model's
    images: int = 6
    steps: bool = False  # whether ten AdamW steps are kept
    full: bool = False  # whether gradients of all base parameters are kept
    merged: bool = False  # whether PEFT's merge is compared
    head: float = 0.3  # standard deviation of classifiers
    older: bool = False  # whether the checkpoint has the tables of integers that Transformers wrote until 4.31


def square(size):
    return {"height": size, "width": size}


def vit_processor(height, width=None, **more):
    return ViTImageProcessor(size={"height": height, "width": width or height}, **more)


def vit(seed, shape={}, processor=None, runs=ViTForImageClassification, config=ViTConfig, **more):
    sizes = {**SHAPE, **MLP_SHAPE, **shape}
    return Case(seed, config(**sizes, num_labels=CLASSES), runs, processor or vit_processor(sizes["image_size"]), **more)


def deit(seed, shape={}, **more):
    processor = DeiTImageProcessor(size=square(18), crop_size=square(16))
    return vit(seed, shape, processor, DeiTForImageClassification, DeiTConfig, **more)


def dinov2(seed, shape={}, size=None, **more):
    sizes = {**SHAPE, "mlp_ratio": 2, **shape}
    height, width = size or (sizes["image_size"],) * 2
    processor = BitImageProcessor(size={"shortest_edge": 24}, crop_size={"height": height, "width": width})
    return Case(seed, Dinov2Config(**sizes, num_labels=CLASSES), Dinov2ForImageClassification, processor, size=size, **more)


def clip(seed, shape={}, **more):
    """There is no norm before its classifier."""
    vision = {**SHAPE, **MLP_SHAPE, **shape, "projection_dim": 4}
    config = CLIPConfig(vision_config=vision, text_config=TEXT, projection_dim=4, num_labels=CLASSES)
    size = vision["image_size"]
    processor = CLIPImageProcessor(size={"shortest_edge": size}, crop_size=square(size))
    return Case(seed, config, CLIPForImageClassification, processor, targets=CLIP, head=0.1, **more)


def siglip(seed, shape={}, size=(16, 16), **more):
    config = SiglipConfig(vision_config={**SHAPE, **MLP_SHAPE, **shape}, text_config=TEXT, num_labels=CLASSES)
    processor = SiglipImageProcessor(size={"height": size[0], "width": size[1]})
    return Case(seed, config, SiglipForImageClassification, processor, targets=CLIP, size=size,
                exclude=r"vision_model\.head\..*", **more)  # fmt: skip


def swin(seed, size, image_size=None, **more):
    """Of Swin, whose images are larger, four are enough."""
    settings = {key: more.pop(key) for key in list(more) if hasattr(SwinConfig, key)}
    config = SwinConfig(**{**SWIN_SHAPE, **settings}, image_size=image_size or list(size), num_labels=CLASSES)
    processor = vit_processor(*size)
    return Case(seed, config, SwinForImageClassification, processor, targets=SWIN, size=size, images=4, **more)


CASES = {
    "vit": vit(1, {**LARGER, **LABELS}, steps=True, full=True, merged=True),
    "vit-nobias": vit(2, dict(**SMALL_MLP, qkv_bias=False, hidden_act="gelu_new")),
    "vit-grey": vit(3, dict(**SMALL_MLP, num_channels=1, **LARGER), vit_processor(20, image_mean=[0.5], image_std=[0.5])),
    # The pooler is of no use to a classifier.
    "vit-base-only": vit(4, SMALL_MLP, saved=ViTModel),
    # A grid of 4 x 4 patches stretched to 6 x 3.
    "vit-resized": vit(5, SMALL_MLP, vit_processor(24, 12), size=(24, 12)),
    "deit": deit(6, SMALL_MLP),
    # As the distilled models are published: two classifiers, of which neither is that of fine-tuning.
    "deit-teacher": deit(7, SMALL_MLP, saved=DeiTForImageClassificationWithTeacher),
    "dinov2": dinov2(8, LARGER, full=True, merged=True),
    "dinov2-swiglu": dinov2(9, dict(**SMALL, use_swiglu_ffn=True), targets=SWIGLU),
    # Grids of 4 x 4 patches and of 5 x 6.
    "dinov2-resized": dinov2(10, SMALL, size=(20, 24), images=4),
    "clip": clip(11, merged=True),
    "clip-full": clip(12, SMALL_MLP, saved=CLIPModel),
    "clip-vision": clip(13, SMALL_MLP, saved=CLIPVisionModel),
    "siglip": siglip(14, SMALL_MLP),
    "siglip-full": siglip(15, SMALL_MLP, saved=SiglipModel),
    # As many patches as the model has positions, in another grid: 4 x 4 and 8 x 2.
    "siglip-resized": siglip(16, SMALL_MLP, (32, 8)),
    # Maps of 16 x 16 and 8 x 8: the second block of each stage is shifted.
    "swin": swin(17, (32, 32), 32, steps=True, full=True, merged=True),
    # Maps of 13 x 15, 7 x 8 and 4 x 4: windows padded, merging padded, and in the last stage, where a window is the map, no
    # shift. (A window larger than a map is an error of Transformers: the table of positions is not made smaller.)
    "swin-pad": swin(18, (26, 30), depths=[2, 2, 2], num_heads=[2, 2, 4], embed_dim=4, qkv_bias=False, hidden_act="gelu_new"),
    "swin-abs": swin(19, (16, 16), 16, use_absolute_embeddings=True),
    # What is computed is as in other cases; their files are like those that CLIP and Swin were published in.
    "clip-older": clip(21, TINY, saved=CLIPModel, older=True),
    "swin-older": swin(22, (8, 8), 8, embed_dim=4, num_heads=[1, 2], depths=[1, 1], window_size=2, older=True),
    # Maps of 8 x 8 and 4 x 4 in pre-training, where neither block of the second stage is shifted; here 10 x 12 and 5 x 6.
    "swin-resized": swin(20, (20, 24), 16, use_absolute_embeddings=True),
}
