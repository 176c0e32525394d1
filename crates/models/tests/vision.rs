//! Configurations of image encoders: what Transformers takes for granted, images of another size, and what is refused.

use std::error::Error;
use std::path::Path;

use loract_autograd::Memory;
use loract_autograd::ops::Activation;
use loract_models::{
    Classifier, ClassifierHead, ImageBatch, Model, StageConfig, VisionConfig, VisionSource, VisionType,
};
use loract_testkit::golden::{VISION, folder, json};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn Error>>;

fn parse(value: &Value) -> Result<VisionConfig, String> {
    VisionConfig::from_json(Path::new("config.json"), &value.to_string()).map_err(|e| e.to_string())
}

/// A configuration of this type that says only `values`.
fn saying(model_type: &str, values: Value) -> Value {
    let mut config = match model_type {
        "clip" | "siglip" => json!({ "vision_config": values }),
        _ => values,
    };
    config["model_type"] = model_type.into();
    config
}

fn check(name: &str, config: &VisionConfig, want: &Value) {
    let number = |key: &str| want[key].as_u64().map(|n| n as usize);
    assert_eq!(Some(config.image_size[0]), number("image_size"), "{name}");
    assert_eq!(Some(config.patch_size[1]), number("patch_size"), "{name}");
    assert_eq!(Some(config.channels), number("num_channels"), "{name}");
    assert_eq!(Some(config.labels.len()), number("num_labels"), "{name}");
    assert_eq!(config.window, number("window_size"), "{name}");
    let activation = match want["hidden_act"].as_str() {
        Some("gelu") => Activation::Gelu,
        Some("quick_gelu") => Activation::QuickGelu,
        Some("gelu_pytorch_tanh") => Activation::GeluTanh,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(config.activation, activation, "{name}");
    let eps = want["layer_norm_eps"].as_f64().unwrap_or_default();
    assert!((f64::from(config.norm_eps) - eps).abs() <= 1e-6 * eps, "{name}: {}", config.norm_eps);
    assert_eq!(config.qkv_bias, want["qkv_bias"].as_bool().unwrap_or(true), "{name}");
    let stages: Vec<StageConfig> = match want["depths"].as_array() {
        None => {
            let hidden_size = number("hidden_size").unwrap_or_default();
            let ratio = number("mlp_ratio").map(|ratio| ratio * hidden_size);
            let intermediate_size = number("intermediate_size").or(ratio).unwrap_or_default();
            let (layers, heads) = (number("num_hidden_layers"), number("num_attention_heads"));
            let (layers, heads) = (layers.unwrap_or_default(), heads.unwrap_or_default());
            vec![StageConfig { layers, heads, hidden_size, intermediate_size }]
        }
        Some(depths) => (0..depths.len())
            .map(|i| {
                let of = |key: &str| want[key][i].as_u64().unwrap_or_default() as usize;
                let hidden_size = number("embed_dim").unwrap_or_default() << i;
                let (layers, heads) = (of("depths"), of("num_heads"));
                StageConfig { layers, heads, hidden_size, intermediate_size: 4 * hidden_size }
            })
            .collect(),
    };
    assert_eq!(config.stages, stages, "{name}");
}

/// `make_vision.py` asked Transformers.
#[test]
fn what_is_not_said_is_what_transformers_takes_for_granted() -> Outcome {
    let golden = json(&folder("vision-defaults.json"));
    let families = golden.as_object().ok_or("an object")?;
    assert_eq!(families.len(), 8);
    for (name, family) in families {
        check(name, &parse(&saying(name, family["sizes"].clone()))?, &family["values"]);
        check(name, &parse(&saying(name, json!({})))?, &family["bare"]);
    }
    Ok(())
}

/// Older files of CLIP have the values under a second key.
#[test]
fn the_older_key_of_vision_goes_first() -> Outcome {
    let both = json!({ "model_type": "clip", "vision_config": { "num_hidden_layers": 3 },
        "vision_config_dict": { "num_hidden_layers": 5, "image_size": 64 } });
    let config = parse(&both)?;
    assert_eq!((config.layers(), config.image_size), (5, [64, 64]));
    let again = parse(&Value::Object(config.to_json(loract_models::weights::store::StoredAs::F32)))?;
    assert_eq!(again.stages, config.stages);
    Ok(())
}

#[test]
fn a_written_configuration_is_read_as_the_same_classifier() -> Outcome {
    for name in VISION {
        let config = VisionSource::read_config(&folder(&format!("vision/{name}")))?;
        let config = config.with_labels(["cat", "dog", "newt"].map(str::to_owned).into());
        let written = config.to_json(loract_models::weights::store::StoredAs::F32);
        let again = parse(&Value::Object(written))?;
        assert_eq!(again.labels, config.labels, "{name}");
        assert_eq!(
            (again.stages, again.image_size, again.norm_eps, again.activation, again.gated),
            (config.stages, config.image_size, config.norm_eps, config.activation, config.gated),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    for (config, words) in [
        (json!({ "model_type": "beit" }), "model_type beit is not supported for images; supported: vit, deit"),
        (json!({ "model_type": "vit", "image_size": 8 }), "image_size 8x8 has no patch of 16x16"),
        (json!({ "model_type": "vit", "image_size": [1, 2, 3] }), "image_size lists 3 numbers"),
        (json!({ "model_type": "vit", "hidden_act": "mish" }), "hidden_act mish is not supported"),
        (json!({ "model_type": "vit", "num_attention_heads": 7 }), "hidden_size 768 is not a multiple"),
        (json!({ "model_type": "vit", "num_hidden_layers": 0 }), "num_hidden_layers is 0"),
        (json!({ "model_type": "vit", "id2label": { "0": "a", "2": "b" } }), "id2label has 2 names and none for 1"),
        (json!({ "model_type": "swin", "image_size": 96 }), "window_size is 7, the map of stage 2 (from 0) is 6x6"),
        (json!({ "model_type": "swin", "depths": [2] }), "depths lists 1 stages and num_heads 4"),
        (json!({ "model_type": "vit", "layer_norm_eps": -1.0 }), "layer_norm_eps is -1"),
    ] {
        let error = parse(&config).err().unwrap_or_default();
        assert!(error.contains(words), "{config}: {error}");
    }
}

#[test]
fn batches_are_checked_against_the_model() -> Outcome {
    let config = parse(&json!({ "model_type": "vit", "image_size": 32 }))?;
    assert_eq!((config.tokens(), config.pixels()), (5, 3 * 32 * 32));
    let pixels = || vec![0.0; 2 * config.pixels()];
    let error =
        |batch: Result<ImageBatch, loract_models::Error>| batch.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error(ImageBatch::new(&config, vec![0.0; 7], vec![])).starts_with("7 numbers are not whole images of 3"));
    assert!(error(ImageBatch::new(&config, pixels(), vec![0])).starts_with("1 labels for 2 images"));
    assert!(error(ImageBatch::new(&config, pixels(), vec![0, 2])).starts_with("label 2 is none of the model's 2"));
    let batch = ImageBatch::new(&config, pixels(), vec![])?;
    assert_eq!((batch.images(), batch.tokens()), (2, 10));
    Ok(())
}

/// Every family of random weights gives logits; those of a new head are as many as there are labels.
#[test]
fn random_models_and_new_heads() -> Outcome {
    let memory = Memory::new();
    for model_type in VisionType::ALL {
        let small = json!({ "hidden_size": 16, "embed_dim": 8, "num_hidden_layers": 1, "depths": [2, 1], "num_heads": [2, 2],
            "num_attention_heads": 2, "intermediate_size": 24, "image_size": 16, "patch_size": 2, "window_size": 4 });
        let config = parse(&saying(model_type.name(), small))?.with_labels(vec!["a".into(), "b".into(), "c".into()]);
        let model = Classifier::random(&memory, config.clone(), 1).ok_or("a model")?;
        let batch = ImageBatch::new(&config, vec![0.5; 2 * config.pixels()], vec![])?;
        let logits = model.logits(&memory, &batch)?;
        assert_eq!((logits.rows(), logits.cols()), (2, 3), "{}", model_type.name());
        assert_eq!(model.params().len(), model.tensors().len(), "{}", model_type.name());
    }
    let source = VisionSource::open(&folder("vision/vit"))?;
    let config = source.config.with_labels(vec!["one".into(), "two".into()]);
    let head = |seed| Classifier::load(&memory, config.clone(), source.weights.clone(), ClassifierHead::New { seed });
    let batch = ImageBatch::new(&config, vec![0.5; config.pixels()], vec![])?;
    let logits = |seed| -> Result<Vec<f32>, loract_models::Error> { Ok(head(seed)?.logits(&memory, &batch)?.to_vec()) };
    assert_eq!(logits(1)?, logits(1)?);
    assert_ne!(logits(1)?, logits(2)?);
    let stored = Classifier::load(&memory, config.clone(), source.weights.clone(), ClassifierHead::Stored);
    let error = stored.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("classifier.weight: stored 7x24, expected 2x24"), "{error}");
    Ok(())
}
