"""The tiny models of make_golden.py beyond Llama, Mistral and Qwen: one `Case` for every family of decoders, and for every
way that a family's checkpoints differ among themselves.

Whatever a family does that others do not is set so that it shows: windows are shorter than most rows, layers of both kinds
occur, caps and clips bite, multipliers are far from one. The seeds are those for which the two largest logits of no
greedy step (make_generate.py) and no choice of experts are nearly equal.
"""

from dataclasses import dataclass, field

import torch
from transformers import (
    Cohere2Config,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4Config,
    GlmConfig,
    GraniteConfig,
    HeliumConfig,
    LlamaConfig,
    MixtralConfig,
    Olmo2Config,
    OlmoConfig,
    OlmoeConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    Qwen3MoeConfig,
    SmolLM3Config,
    StableLmConfig,
    Starcoder2Config,
)

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LLAMA = ATTENTION + ["gate_proj", "up_proj", "down_proj"]
MIXTRAL = ATTENTION + ["w1", "w2", "w3"]
FUSED_QKV = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
FUSED_MLP = ATTENTION + ["gate_up_proj", "down_proj"]

IDS = dict(vocab_size=64, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
# 32 features are a whole block of most GGUF types: for the families that users have as GGUF.
WIDE = dict(**IDS, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
SMALL = {**WIDE, "hidden_size": 24, "intermediate_size": 40}
# For partial rotation: 8 features a head, of which a quarter or a half is an even number.
HEADS_OF_8 = {**SMALL, "num_attention_heads": 3, "num_key_value_heads": 1}
RMS = dict(rms_norm_eps=1e-3)
LAYER_NORM = dict(layer_norm_eps=1e-3)


@dataclass
class Case:
    """A tiny model and its adapter."""

    seed: int
    config: PreTrainedConfig
    dtype: torch.dtype = torch.bfloat16  # on disk
    save_args: dict = field(default_factory=dict)  # of save_pretrained
    targets: list = field(default_factory=lambda: LLAMA)
    rank: int = 2
    older: dict | None = None  # keys of config.json as checkpoints older than Transformers 5 have them, None = no such key
    steps: bool = False  # whether ten AdamW steps are kept


def rope(theta, **scaling):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **scaling}}


def older_rope(theta, **more):
    """What Transformers 4 wrote in place of rope_parameters."""
    return {"rope_parameters": None, "rope_theta": theta, **more}


def mixture(experts_key, intermediate_key="intermediate_size"):
    """Four experts, of which every token takes two."""
    return {**SMALL, **RMS, intermediate_key: 20, experts_key: 4, "num_experts_per_tok": 2}


def gemma(seed, config_class, older=None, steps=False, shape=SMALL, **more):
    return Case(seed, config_class(**shape, **RMS, head_dim=8, **more), older=older, steps=steps)


FAMILIES = {
    "llama-linear": Case(
        10,
        LlamaConfig(**SMALL, **RMS, **rope(50.0, rope_type="linear", factor=4.0), head_dim=8),
        older=older_rope(50.0, rope_scaling={"type": "linear", "factor": 4.0}),
    ),
    # Frequencies of all three kinds: kept (the first), between, divided (the last ones).
    "llama-yarn": Case(
        11,
        LlamaConfig(
            **SMALL,
            **RMS,
            **rope(10.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
            head_dim=12,
            tie_word_embeddings=True,
        ),
    ),
    "gemma": gemma(12, GemmaConfig, **rope(50.0)),
    "gemma2": gemma(
        13,
        Gemma2Config,
        shape=WIDE,
        **rope(50.0),
        query_pre_attn_scalar=20,
        sliding_window=5,
        attn_logit_softcapping=1.5,
        final_logit_softcapping=6.0,
        older=older_rope(50.0, layer_types=None),
        steps=True,
    ),
    "gemma3": gemma(
        14,
        Gemma3TextConfig,
        query_pre_attn_scalar=20,
        sliding_window=5,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 300.0},
        },
        older=older_rope(
            300.0,
            rope_local_base_freq=20.0,
            rope_scaling={"rope_type": "linear", "factor": 8.0},
            sliding_window_pattern=2,
            _sliding_window_pattern=None,
            layer_types=None,
        ),
    ),
    "phi": Case(
        15,
        PhiConfig(**{**HEADS_OF_8, "num_key_value_heads": 3}, **LAYER_NORM, **rope(50.0, partial_rotary_factor=0.5)),
        targets=["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"],
        older=older_rope(50.0, partial_rotary_factor=0.5),
        steps=True,
    ),
    "phi3": Case(40, Phi3Config(**WIDE, **RMS, **rope(50.0), sliding_window=5), targets=FUSED_QKV),
    # Rows of up to 12 tokens take the short factors, longer ones the long factors.
    "phi3-longrope": Case(
        17,
        Phi3Config(
            **WIDE,
            **RMS,
            **rope(
                50.0,
                rope_type="longrope",
                partial_rotary_factor=0.75,
                short_factor=[1.0, 1.1, 1.3],
                long_factor=[1.5, 3.0, 7.0],
            ),
            original_max_position_embeddings=12,
            tie_word_embeddings=True,
        ),
        targets=FUSED_QKV,
        older=older_rope(
            50.0,
            partial_rotary_factor=0.75,
            rope_scaling={"type": "longrope", "short_factor": [1.0, 1.1, 1.3], "long_factor": [1.5, 3.0, 7.0]},
        ),
    ),
    # Nearly half of the elements of q, k and v are clipped.
    "olmo": Case(18, OlmoConfig(**SMALL, **rope(50.0), clip_qkv=1.2)),
    "olmo2": Case(41, Olmo2Config(**SMALL, **RMS, **rope(50.0)), steps=True),
    "granite": Case(
        20,
        GraniteConfig(
            **SMALL,
            **RMS,
            **rope(50.0),
            embedding_multiplier=6.0,
            attention_multiplier=0.15,
            residual_multiplier=0.3,
            logits_scaling=2.5,
            tie_word_embeddings=True,
        ),
    ),
    "cohere": Case(21, CohereConfig(**SMALL, **LAYER_NORM, **rope(50.0), logit_scale=0.5, use_qk_norm=True), steps=True),
    "cohere2": Case(
        22,
        Cohere2Config(
            **SMALL,
            **LAYER_NORM,
            **rope(50.0),
            logit_scale=0.5,
            sliding_window=5,
            layer_types=["sliding_attention", "full_attention"],
        ),
        older=older_rope(50.0, sliding_window_pattern=2, layer_types=None),
    ),
    "glm": Case(23, GlmConfig(**SMALL, **RMS, **rope(50.0, partial_rotary_factor=0.5), head_dim=12), targets=FUSED_MLP),
    "glm4": Case(44, Glm4Config(**SMALL, **RMS, **rope(50.0, partial_rotary_factor=0.5), head_dim=8), targets=FUSED_MLP),
    "helium": Case(25, HeliumConfig(**SMALL, **RMS, **rope(50.0), head_dim=6)),
    # YaRN with every setting off its default; without `truncate` the limits are between frequencies.
    "smollm3": Case(
        26,
        SmolLM3Config(
            **SMALL,
            **RMS,
            **rope(
                20.0,
                rope_type="yarn",
                factor=4.0,
                original_max_position_embeddings=16,
                beta_fast=2.0,
                beta_slow=0.5,
                truncate=False,
                mscale=0.7,
                mscale_all_dim=1.3,
            ),
            head_dim=12,
            no_rope_layers=[1, 0],
        ),
    ),
    "stablelm": Case(
        45,
        StableLmConfig(
            **HEADS_OF_8,
            **LAYER_NORM,
            **rope(50.0, partial_rotary_factor=0.25),
            use_parallel_residual=True,
            use_qkv_bias=True,
        ),
        older=older_rope(50.0, partial_rotary_factor=0.25),
    ),
    "stablelm-sequential": Case(
        48, StableLmConfig(**HEADS_OF_8, **LAYER_NORM, **rope(50.0, partial_rotary_factor=0.5))
    ),
    "starcoder2": Case(
        49,
        Starcoder2Config(**SMALL, norm_epsilon=1e-3, **rope(50.0), sliding_window=5),
        targets=ATTENTION + ["c_fc", "c_proj"],
    ),
    "mixtral": Case(30, MixtralConfig(**mixture("num_local_experts"), **rope(50.0)), targets=MIXTRAL),
    # The first layer is dense.
    "qwen3-moe": Case(
        31,
        Qwen3MoeConfig(
            **mixture("num_experts", "moe_intermediate_size"),
            **rope(50.0),
            head_dim=8,
            norm_topk_prob=True,
            mlp_only_layers=[0],
        ),
    ),
    # In the ninth step an expert of the first layer has no tokens; in the tenth it has some again.
    # Some elements of q, k and v are clipped, after their norm.
    "olmoe": Case(36, OlmoeConfig(**mixture("num_experts"), **rope(50.0), norm_topk_prob=False, clip_qkv=1.2)),
}
