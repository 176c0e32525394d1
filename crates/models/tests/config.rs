//! Configurations of the golden models, of both generations of config.json, and what is refused.

use std::error::Error;
use std::path::Path;

use loract_autograd::ops::Activation;
use loract_models::{
    AttentionBias, Block, DecoderConfig, HeadNorm, Layers, ModelType, Rope, RopeScaling, Scales, SlidingWindow,
    read_config,
};
use loract_testkit::golden::{DECODERS, folder, json};

type Outcome = Result<(), Box<dyn Error>>;

fn turned(theta: f64, rotated: usize, scaling: RopeScaling) -> Rope {
    Rope { theta, rotated, scaling }
}

/// What 1/√D is for heads of 12 features.
fn of_heads_of_12() -> Scales {
    Scales { attention: 12f32.sqrt().recip(), ..llama_tied().scales }
}

fn llama_tied() -> DecoderConfig {
    DecoderConfig {
        model_type: ModelType::Llama,
        hidden_size: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        intermediate_size: 48,
        vocab_size: 64,
        context: 64,
        activation: Activation::Silu,
        rope: turned(50000.0, 8, RopeScaling::None),
        local_rope: None,
        turned: Layers::All,
        block: Block::Sequential,
        norm_eps: 1e-3,
        tied: true,
        attention_bias: AttentionBias::None,
        head_norm: HeadNorm::None,
        mlp_bias: false,
        sliding_window: None,
        clip_qkv: None,
        scales: Scales { embedding: 1.0, residual: 1.0, attention: 8f32.sqrt().recip(), logits: 1.0 },
        attention_softcap: None,
        logit_softcap: None,
        experts: None,
        bos: Some(1),
        eos: vec![2],
    }
}

#[test]
fn golden_configurations() -> Outcome {
    let rope = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 32 };
    let untied = DecoderConfig {
        kv_heads: 1,
        head_dim: 12,
        rope: turned(500.0, 12, RopeScaling::None),
        norm_eps: 1e-4,
        scales: of_heads_of_12(),
        tied: false,
        attention_bias: AttentionBias::All,
        mlp_bias: true,
        ..llama_tied()
    };
    let mistral = DecoderConfig {
        model_type: ModelType::Mistral,
        sliding_window: Some(SlidingWindow::everywhere(5)),
        tied: false,
        ..llama_tied()
    };
    assert_eq!(read_config(&folder("llama-tied"))?, llama_tied());
    assert_eq!(read_config(&folder("gguf").join("llama.gguf"))?, llama_tied());
    assert_eq!(read_config(&folder("llama-untied"))?, untied);
    assert_eq!(
        read_config(&folder("llama3-rope"))?,
        DecoderConfig { rope: turned(50.0, 8, rope), tied: false, ..llama_tied() }
    );
    assert_eq!(read_config(&folder("mistral-window"))?, mistral);
    let qwen2 = DecoderConfig {
        model_type: ModelType::Qwen2,
        attention_bias: AttentionBias::Qkv,
        sliding_window: Some(SlidingWindow { tokens: 5, layers: Layers::Listed(vec![false, true]) }),
        ..llama_tied()
    };
    assert_eq!(read_config(&folder("qwen2"))?, qwen2);
    let qwen3 = DecoderConfig {
        model_type: ModelType::Qwen3,
        head_dim: 12,
        rope: turned(50000.0, 12, RopeScaling::None),
        scales: of_heads_of_12(),
        head_norm: HeadNorm::QueryKey,
        tied: false,
        ..llama_tied()
    };
    assert_eq!(read_config(&folder("qwen3"))?, qwen3);
    Ok(())
}

#[test]
fn a_configuration_written_and_read_again_is_the_same() -> Outcome {
    let several = DecoderConfig { eos: vec![2, 7], bos: None, norm_eps: 1e-5, ..llama_tied() };
    let others = DECODERS.map(|name| read_config(&folder(name))).into_iter().collect::<Result<Vec<_>, _>>()?;
    for config in others.into_iter().chain([several]) {
        let text = serde_json::Value::Object(config.to_json()).to_string();
        assert_eq!(DecoderConfig::from_json(Path::new("config.json"), &text, None)?, config);
    }
    // A GGUF file calls Mistral llama.
    let window = DecoderConfig { sliding_window: Some(SlidingWindow::everywhere(5)), ..llama_tied() };
    let text = serde_json::Value::Object(window.to_json()).to_string();
    let again = DecoderConfig::from_json(Path::new("config.json"), &text, None)?;
    assert_eq!(again, DecoderConfig { model_type: ModelType::Mistral, ..window });
    Ok(())
}

/// Of a config.json with sizes only, every family takes for granted what Transformers does (`make_defaults.py`).
#[test]
fn what_is_not_said_is_what_transformers_takes_for_granted() -> Outcome {
    let golden = json(&folder("defaults.json"));
    for model_type in ModelType::ALL {
        let (name, want) = (model_type.to_string(), &golden["families"][model_type.to_string()]);
        let mut said = golden["sizes"].clone();
        said["model_type"] = name.clone().into();
        let config = parse(&said.to_string(), None).map_err(|message| format!("{name}: {message}"))?;
        let close = |got: f64, key: &str| want[key].as_f64().is_some_and(|want| (got - want).abs() <= 1e-6 * want);
        assert!(close(config.rope.theta, "theta") && close(f64::from(config.norm_eps), "eps"), "{name}: {config:?}");
        assert_eq!(want["kv_heads"], config.kv_heads, "{name}");
        assert_eq!(want["head_dim"], config.head_dim, "{name}");
        assert_eq!(want["context"], config.context, "{name}");
        assert_eq!(want["rotated"], config.rope.rotated, "{name}");
        assert_eq!(want["tied"], config.tied, "{name}");
        let activation = match want["activation"].as_str() {
            Some("silu") => Activation::Silu,
            Some("gelu_new" | "gelu_pytorch_tanh") => Activation::GeluTanh,
            other => return Err(format!("{name}: {other:?}").into()),
        };
        assert_eq!(config.activation, activation, "{name}");
        let windows: Vec<_> = (0..config.layers).map(|layer| config.window(layer)).collect();
        assert_eq!(want["windows"], serde_json::json!(windows), "{name}");
        let experts = config.experts.as_ref().map(|experts| [experts.count, experts.chosen, experts.width]);
        assert_eq!(want["experts"], serde_json::json!(experts), "{name}");
        let softcaps = [config.attention_softcap, config.logit_softcap];
        assert_eq!(want["softcaps"], serde_json::json!(softcaps), "{name}");
    }
    Ok(())
}

const OLD: &str = r#"{"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "vocab_size": 64, "rope_theta": 500000.0, "rms_norm_eps": 1e-05, "hidden_act": "silu",
    "rope_scaling": null, "bos_token_id": 1, "eos_token_id": [2, 3]}"#;

/// OLD with one piece of text replaced by another.
fn changed(from: &str, to: &str) -> Result<DecoderConfig, String> {
    assert!(OLD.contains(from), "{from}");
    parse(&OLD.replace(from, to), None)
}

fn parse(text: &str, generation: Option<&str>) -> Result<DecoderConfig, String> {
    DecoderConfig::from_json(Path::new("config.json"), text, generation).map_err(|e| e.to_string())
}

#[test]
fn keys_of_transformers_4() -> Outcome {
    let config = parse(OLD, Some(r#"{"eos_token_id": [3, 9]}"#))?;
    assert_eq!((config.kv_heads, config.head_dim, config.context), (4, 8, 2048));
    let plain = turned(500000.0, 8, RopeScaling::None);
    assert_eq!((config.rope, config.tied, config.eos), (plain, false, vec![2, 3, 9]));
    let linear = changed(r#""rope_scaling": null"#, r#""rope_scaling": {"type": "linear", "factor": 4.0}"#)?;
    assert_eq!(linear.rope.scaling, RopeScaling::Linear { factor: 4.0 });
    let llama3 = changed(
        r#""rope_scaling": null"#,
        r#""rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 8192}"#,
    )?;
    let want =
        RopeScaling::Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
    assert_eq!(llama3.rope.scaling, want);
    let window = |text: &str| {
        changed(r#""model_type": "llama""#, text).map(|c| (c.sliding_window.map(|w| w.tokens), c.kv_heads))
    };
    assert_eq!(window(r#""model_type": "mistral", "num_key_value_heads": 2"#)?, (Some(4096), 2));
    assert_eq!(window(r#""model_type": "mistral", "num_key_value_heads": 2, "sliding_window": null"#)?, (None, 2));
    Ok(())
}

#[test]
fn what_is_refused_is_named() {
    let cases = [
        (
            r#""model_type": "llama""#,
            r#""model_type": "mamba""#,
            "model_type mamba is not supported; missing: state-space layers; supported: llama, mistral, mixtral, qwen2, ",
        ),
        (
            r#""model_type": "llama""#,
            r#""model_type": "lama""#,
            "lama is not supported; nearest by name: llama; supported: ",
        ),
        (r#""hidden_act": "silu""#, r#""hidden_act": "mish""#, "hidden_act mish is not supported; supported: silu, "),
        (
            r#""rope_scaling": null"#,
            r#""rope_scaling": {"type": "dynamic", "factor": 2}"#,
            "rope type dynamic is not supported; supported: default, linear, llama3, yarn, longrope",
        ),
        (r#""rope_scaling": null"#, r#""rope_scaling": {"type": "linear"}"#, "factor is missing; it has no default"),
        (
            r#""rope_scaling": null"#,
            r#""partial_rotary_factor": 0.4"#,
            "partial_rotary_factor makes 3 of 8 features of a head turn, expected an even number of 2 to 8",
        ),
        (
            r#""rope_scaling": null"#,
            r#""rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1, 1, 1, 1]}"#,
            "short_factor lists 1 numbers, expected 4, one for each two features that turn",
        ),
        (r#""hidden_size": 32"#, r#""hidden_size": "wide""#, "hidden_size is \"wide\", expected a whole number"),
        (r#""hidden_size": 32"#, r#""hidden_size": -1"#, "hidden_size is -1, expected a whole number"),
        (r#""hidden_size": 32,"#, "", "hidden_size is missing"),
        (r#""hidden_size": 32"#, r#""hidden_size": 30"#, "hidden_size 30 is not a multiple of num_attention_heads 4"),
        (r#""hidden_size": 32"#, r#""hidden_size": 12"#, "head_dim is 3, expected an even number"),
        (r#""vocab_size": 64"#, r#""vocab_size": 0"#, "vocab_size is 0, expected 1 to 4294967295"),
        (r#""num_attention_heads": 4"#, r#""num_attention_heads": 0"#, "not a multiple of num_attention_heads 0"),
        (
            r#""num_attention_heads": 4"#,
            r#""num_attention_heads": 4, "num_key_value_heads": 3"#,
            "4 is not a multiple of num_key_value_heads 3",
        ),
        (
            r#""num_hidden_layers": 2"#,
            r#""num_hidden_layers": 4000000000"#,
            "num_hidden_layers is 4000000000, expected at most 10000",
        ),
        (r#""rms_norm_eps": 1e-05"#, r#""rms_norm_eps": 0"#, "rms_norm_eps is 0, expected a positive number"),
        (
            r#""eos_token_id": [2, 3]"#,
            r#""eos_token_id": "two""#,
            "eos_token_id is \"two\", expected a token id or a list of them",
        ),
    ];
    for (from, to, want) in cases {
        let message = changed(from, to).err().unwrap_or_default();
        assert!(message.starts_with("config.json: ") && message.contains(want), "{message:?}, expected {want:?}");
    }
    // Of other families.
    for (family, keys, want) in [
        ("gemma2", r#""layer_types": ["full_attention"]"#, "layer_types lists 1 layers, num_hidden_layers is 2"),
        (
            "gemma2",
            r#""layer_types": ["full_attention", "chunked"]"#,
            "layer_types has chunked; supported: full_attention",
        ),
        ("gemma2", r#""use_bidirectional_attention": true"#, "use_bidirectional_attention is true"),
        ("gemma3_text", r#""sliding_window_pattern": 0"#, "sliding_window_pattern is 0"),
        ("smollm3", r#""no_rope_layers": [1]"#, "no_rope_layers lists 1 layers, num_hidden_layers is 2"),
        ("phi", r#""qk_layernorm": true"#, "qk_layernorm is true, which is not supported for phi and stablelm"),
        ("stablelm", r#""qk_layernorm": true"#, "qk_layernorm is true"),
        ("qwen3_moe", r#""decoder_sparse_step": 0"#, "decoder_sparse_step is 0"),
        ("qwen3_moe", r#""num_experts": 0"#, "the number of experts is 0, expected 1 to 10000"),
        ("olmoe", r#""num_experts": 4, "num_experts_per_tok": 5"#, "num_experts_per_tok is 5, expected 1 to 4"),
        ("cohere", r#""logit_scale": 0"#, "the scale of logits is 0, expected a positive number"),
        ("olmo", r#""clip_qkv": -1"#, "clip_qkv is -1, expected a positive number"),
    ] {
        let (from, to) =
            (r#""model_type": "llama""#, format!(r#""model_type": "{family}", "num_key_value_heads": 4, {keys}"#));
        let message = changed(from, &to).err().unwrap_or_default();
        assert!(message.contains(want), "{family}: {message:?}, expected {want:?}");
    }
    assert!(parse("[]", None).is_err_and(|message| message.starts_with("config.json is not the JSON expected: ")));
}
