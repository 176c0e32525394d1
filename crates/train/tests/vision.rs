//! Image classifiers against PyTorch, Transformers and PEFT: logits, losses, every gradient, AdamW steps (`testkit/golden/vision`).
//!
//! Tolerances as in `golden.rs`.

use std::path::PathBuf;

use loract_autograd::{Compress, FactorType, Factored, Form, Memory, Policy, Rank, Tape};
use loract_models::weights::store::StoredAs;
use loract_models::{Classifier, ClassifierHead, ImageBatch, LoraConfig, Model, VisionSource, adapter, adapter_labels};
use loract_testkit::golden::{
    Images, VISION, VISION_FULL, VISION_OLDER, VISION_STEPPED, VISION_WITHOUT_CLASSIFIER, folder as golden_folder,
    images, json, relative_error, tensors,
};
use loract_train::{Activations, Gradient, Schedule, ScheduleKind, Trainer};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const TOLERANCE: f64 = 1e-4;

struct Case {
    memory: Memory,
    model: Classifier,
    pixels: Vec<f32>,
    labels: Vec<u32>,
    lora: Option<LoraConfig>,
    folder: PathBuf,
}

impl Case {
    /// Images `range`, wrapping.
    fn batch(&self, range: std::ops::Range<usize>) -> Result<ImageBatch> {
        let size = self.model.config().pixels();
        let images = range.map(|i| i % self.labels.len());
        let pixels = images.clone().flat_map(|i| self.pixels[i * size..(i + 1) * size].iter().copied()).collect();
        Ok(ImageBatch::new(self.model.config(), pixels, images.map(|i| self.labels[i]).collect())?)
    }

    fn all(&self) -> Result<ImageBatch> {
        self.batch(0..self.labels.len())
    }

    fn trainer(self, policy: Policy) -> Trainer<Classifier> {
        let schedule = Schedule { kind: ScheduleKind::Constant, lr: 1e-2, warmup: 0, steps: 10 };
        Trainer::new(self.model, &self.memory, policy, schedule, 0.01, 1.0, 7)
    }
}

fn open(case: &str, adapter_folder: Option<&str>) -> Result<Case> {
    let folder = golden_folder(&format!("vision/{case}"));
    let memory = Memory::new();
    let Images { shape, pixels, labels } = images(&folder.join("input.safetensors"));
    let source = VisionSource::open(&folder)?;
    let mut config = source.config.with_image_size([shape[2], shape[3]])?;
    let mut head = ClassifierHead::Stored;
    if let Some(adapter) = adapter_folder
        && let Some(labels) = adapter_labels(&folder.join(adapter))?
    {
        config = config.with_labels(labels);
        head = ClassifierHead::New { seed: 1 };
    }
    let mut model = Classifier::load(&memory, config, source.weights, head)?;
    let lora = adapter_folder.map(|adapter| adapter::load(&memory, &mut model, &folder.join(adapter))).transpose()?;
    let labels = labels.into_iter().map(u32::try_from).collect::<std::result::Result<_, _>>()?;
    Ok(Case { memory, model, pixels, labels, lora, folder })
}

/// Each preset, with f32 factors of `rank` alone wherever it compresses.
fn presets(rank: Rank) -> Vec<(&'static str, Policy)> {
    let factors = Factored { method: Compress::Rqb, rank, stored: FactorType::F32 };
    let form = |form| if form == Form::Again { form } else { Form::LowRank(factors) };
    Activations::ALL.iter().map(|(name, preset)| (*name, preset.policy().map_forms(form))).collect()
}

fn check_logits(case: &Case, logits_key: &str, loss_key: &str) -> Result {
    let golden = tensors(&case.folder.join("golden.safetensors"));
    let (shape, want) = &golden[logits_key];
    let batch = case.all()?;
    let logits = case.model.logits(&case.memory, &batch)?;
    assert_eq!([logits.rows(), logits.cols()], shape[..]);
    let error = relative_error(&logits.to_vec(), want);
    assert!(error <= TOLERANCE, "{} {logits_key}: {error}", case.folder.display());
    let want = json(&case.folder.join("golden.json"))[loss_key].as_f64().ok_or("a loss")?;
    let output = case.model.loss(&mut Tape::evaluation(&case.memory), &batch)?;
    let loss = output.nll.iter().map(|&x| f64::from(x)).sum::<f64>() / output.nll.len() as f64;
    assert!((loss - want).abs() <= TOLERANCE * want, "{} {loss_key}: {loss} {want}", case.folder.display());
    Ok(())
}

#[test]
fn logits_and_losses_equal_those_of_transformers_and_peft() -> Result {
    for name in VISION {
        check_logits(&open(name, Some("adapter"))?, "logits", "loss")?;
        if !VISION_WITHOUT_CLASSIFIER.contains(&name) {
            check_logits(&open(name, None)?, "base_logits", "base_loss")?;
        }
    }
    Ok(())
}

/// Every LoRA and head gradient against PEFT's: exact, recomputed, and through factors of full rank.
#[test]
fn every_gradient_equals_pefts_in_every_preset_at_full_rank() -> Result {
    for name in VISION {
        for (preset, policy) in presets(Rank::Fraction { num: 1, den: 1 }) {
            let case = open(name, Some("adapter"))?;
            let golden = tensors(&case.folder.join("golden.safetensors"));
            let batch = case.all()?;
            let compresses = !policy.forms.is_empty();
            let mut trainer = case.trainer(policy);
            let Gradient { grads, memory: report, .. } = trainer.gradient(&[batch])?;
            let saved: Vec<String> = report.saved.keys().map(ToString::to_string).collect();
            assert_eq!(saved.iter().any(|s| s.ends_with("low_rank")), compresses, "{name} {preset}: {saved:?}");
            let params = trainer.model().params();
            assert_eq!(params.len(), golden.keys().filter(|key| key.starts_with("grad.")).count(), "{name}");
            for param in params {
                let gradient = grads.get(param).ok_or_else(|| format!("{} has no gradient", param.name()))?.to_vec();
                assert!(gradient.iter().any(|&g| g != 0.0), "{} is zero", param.name());
                let key = match param.name().starts_with("base_model.") {
                    true => format!("grad.{}", param.name()),
                    false => format!("grad.base_model.model.{}", param.name()),
                };
                let error = relative_error(&gradient, &golden[&key].1);
                assert!(error <= TOLERANCE, "{name} {preset} {}: {error}", param.name());
            }
        }
    }
    Ok(())
}

/// Of every weight, as full fine-tuning trains them.
#[test]
fn full_gradients_equal_pytorchs() -> Result {
    for name in VISION_FULL {
        for (preset, policy) in presets(Rank::Fraction { num: 1, den: 1 }) {
            let mut case = open(name, None)?;
            case.model.train_all(&case.memory);
            let golden = tensors(&case.folder.join("fullgrad.safetensors"));
            let batch = case.all()?;
            let mut trainer = case.trainer(policy);
            let Gradient { grads, .. } = trainer.gradient(&[batch])?;
            let params = trainer.model().params();
            // A mask token takes no part.
            let expected = golden.keys().filter(|key| !key.ends_with("mask_token")).count();
            assert_eq!(params.len(), expected, "{name}");
            // The gradient of a bias of keys is none: softmax does not see it. What is left of it are rounding errors.
            let scale = golden.values().map(|(_, g)| norm(g)).fold(0.0, f64::max);
            for param in params {
                let gradient = grads.get(param).ok_or_else(|| format!("{} has no gradient", param.name()))?.to_vec();
                let want = &golden[&trainer.model().published(param.name())].1;
                let error = relative_error(&gradient, want);
                let negligible = norm(want) < 1e-6 * scale && norm(&gradient) < 1e-6 * scale;
                assert!(error <= TOLERANCE || negligible, "{name} {preset} {}: {error}", param.name());
            }
        }
    }
    Ok(())
}

fn norm(numbers: &[f32]) -> f64 {
    numbers.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn ten_steps_equal_pytorchs() -> Result {
    for name in VISION_STEPPED {
        let case = open(name, Some("adapter"))?;
        let want = json(&case.folder.join("golden.json"));
        let golden = tensors(&case.folder.join("golden.safetensors"));
        let images = want["batch_images"].as_u64().ok_or("images")? as usize;
        let batches: Vec<_> = (0..10).map(|i| case.batch(i * images..(i + 1) * images)).collect::<Result<_>>()?;
        let mut trainer = case.trainer(Policy::exact());
        for (step, batch) in batches.into_iter().enumerate() {
            let report = trainer.step(&[batch])?;
            let (loss, norm) = (want["step_losses"][step].as_f64(), want["grad_norms"][step].as_f64());
            let (loss, norm) = (loss.ok_or("a loss")?, norm.ok_or("a norm")?);
            assert!((report.loss - loss).abs() <= 1e-3 * loss, "{name} step {step}: {} {loss}", report.loss);
            assert!((report.grad_norm - norm).abs() <= 1e-3 * norm, "{name} step {step}: {} {norm}", report.grad_norm);
        }
        for param in trainer.model().params() {
            let key = match param.name().starts_with("base_model.") {
                true => format!("steps.{}", param.name()),
                false => format!("steps.base_model.model.{}", param.name()),
            };
            let error = relative_error(&param.value().to_vec(), &golden[&key].1);
            assert!(error <= 1e-3, "{name} {}: {error}", param.name());
        }
    }
    Ok(())
}

/// Written and read again, with the pairs merged, under the names of the file.
#[test]
fn a_merged_model_has_the_logits_of_model_and_adapter() -> Result {
    for name in VISION {
        let case = open(name, Some("adapter"))?;
        assert!(case.lora.is_some());
        let batch = case.all()?;
        let want = case.model.logits(&case.memory, &batch)?.to_vec();
        let folder = std::env::temp_dir().join(format!("loract-vision-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        for file in case.model.to_files(StoredAs::F32, usize::MAX) {
            file.write(&folder.join(&*file.name))?;
        }
        let config = serde_json::Value::Object(case.model.config().to_json(StoredAs::F32));
        std::fs::write(folder.join("config.json"), config.to_string())?;
        let merged = VisionSource::open(&folder)?;
        assert_eq!(merged.config.labels, case.model.config().labels);
        let model = Classifier::load(&case.memory, merged.config, merged.weights, ClassifierHead::Stored)?;
        let error = relative_error(&model.logits(&case.memory, &batch)?.to_vec(), &want);
        assert!(error <= 1e-5, "{name}: {error}");
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// Checkpoints with tables of integers beside their weights.
#[test]
fn older_checkpoints_are_read() -> Result {
    for name in VISION_OLDER {
        check_logits(&open(name, Some("adapter"))?, "logits", "loss")?;
    }
    Ok(())
}

/// PEFT's `all-linear` names the classifier too, and of SigLIP it has pairs in a head that takes no part.
#[test]
fn adapters_of_all_linear_are_read() -> Result {
    for (name, adapter) in [("vit", "adapter-all-linear"), ("siglip", "adapter-all-linear"), ("siglip", "adapter-all")]
    {
        let case = open(name, Some(adapter))?;
        assert!(case.model.linears().iter().all(|(_, linear)| linear.lora.is_some()), "{name} {adapter}");
        let targets = case.lora.as_ref().map(|lora| lora.targets.clone()).unwrap_or_default();
        assert!(!targets.iter().any(|target| target == "classifier"), "{name} {adapter}: {targets:?}");
    }
    Ok(())
}

/// Adapters of Transformers 4 name modules as files do.
#[test]
fn adapters_of_transformers_4_are_read() -> Result {
    for name in ["vit", "deit", "dinov2", "swin"] {
        let case = open(name, Some("adapter"))?;
        let batch = case.all()?;
        let want = case.model.logits(&case.memory, &batch)?.to_vec();
        let older = std::env::temp_dir().join(format!("loract-older-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&older)?;
        let mut settings = json(&case.folder.join("adapter/adapter_config.json"));
        let layers: Vec<String> = case.model.linears().into_iter().map(|(layer, _)| layer).collect();
        settings["target_modules"] = layers.iter().map(|layer| case.model.published(layer)).collect();
        std::fs::write(older.join("adapter_config.json"), settings.to_string())?;
        let bytes = std::fs::read(case.folder.join("adapter/adapter_model.safetensors"))?;
        let file = safetensors::SafeTensors::deserialize(&bytes)?;
        let renamed: Vec<_> =
            file.tensors().into_iter().map(|(key, view)| (case.model.published(&key), view)).collect();
        assert!(renamed.iter().any(|(key, _)| file.tensor(key).is_err()), "{name}");
        std::fs::write(older.join("adapter_model.safetensors"), safetensors::serialize(renamed, None)?)?;
        let memory = Memory::new();
        let source = VisionSource::open(&case.folder)?;
        let config = source.config.with_image_size(case.model.config().image_size)?;
        let mut model = Classifier::load(&memory, config, source.weights, ClassifierHead::Stored)?;
        let lora = adapter::load(&memory, &mut model, &older)?;
        assert_eq!(model.logits(&memory, &batch)?.to_vec(), want, "{name}: {:?}", lora.targets);
        std::fs::remove_dir_all(&older)?;
    }
    Ok(())
}
