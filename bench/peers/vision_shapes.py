"""Published shapes of encoders of images, as config.json has them."""

VISION_SHAPES = {
    "vit-small": {
        "model_type": "vit",
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "image_size": 224,
        "patch_size": 16,
    },
    "vit-base": {
        "model_type": "vit",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 16,
    },
}
