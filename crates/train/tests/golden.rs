//! Against PyTorch, Transformers and PEFT: logits, losses, every gradient, ten AdamW steps (`testkit/golden`).
//!
//! Tolerances are relative errors of whole tensors (Frobenius): 1e-4 in f32, as the golden numbers themselves differ by
//! up to 1.3e-5 from a run in f64.

use std::path::{Path, PathBuf};

use loract_autograd::{Compress, FactorType, Factored, Form, Memory, Policy, Rank};
use loract_models::weights::store::StoredAs;
use loract_models::{Companions, Decoder, FactorA, LoraConfig, Magnitude, Model, ModelSource, TokenBatch, adapter};
use loract_testkit::golden::{DECODERS, STEPPED, folder, json, relative_error, tensors};
use loract_train::data::{Dataset, Reader, RowSettings};
use loract_train::{Activations, Gradient, Schedule, ScheduleKind, Trainer, evaluate};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const TOLERANCE: f64 = 1e-4;

struct Case {
    memory: Memory,
    decoder: Decoder,
    data: Dataset,
    lora: Option<LoraConfig>,
    folder: PathBuf,
}

fn open(case: &str, with_adapter: bool) -> Result<Case> {
    let folder = folder(case);
    let memory = Memory::new();
    let source = ModelSource::open(&folder)?;
    let reader = Reader::new(&source, None, &RowSettings::default())?;
    let data = Dataset::read(&folder.join("rows.jsonl"), &reader)?;
    let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
    let lora = if with_adapter { Some(adapter::load(&memory, &mut decoder, &folder.join("adapter"))?) } else { None };
    Ok(Case { memory, decoder, data, lora, folder })
}

/// Rows `range` of the data, wrapping, as one micro-batch.
fn rows(data: &Dataset, range: std::ops::Range<usize>) -> TokenBatch {
    let examples = data.examples();
    TokenBatch::new(range.map(|i| &examples[i % examples.len()].row))
}

fn trainer(case: Case, policy: Policy) -> Trainer {
    let schedule = Schedule { kind: ScheduleKind::Constant, lr: 1e-2, warmup: 0, steps: 10 };
    Trainer::new(case.decoder, &case.memory, policy, schedule, 0.01, 1.0, 7)
}

/// Each preset, with f32 factors of `rank` alone wherever it compresses.
fn presets(rank: Rank) -> Vec<(&'static str, Policy)> {
    let factors = Factored { method: Compress::Rqb, rank, stored: FactorType::F32 };
    let form = |form| if form == Form::Again { form } else { Form::LowRank(factors) };
    Activations::ALL.iter().map(|(name, preset)| (*name, preset.policy().map_forms(form))).collect()
}

#[test]
fn logits_and_losses_equal_those_of_transformers_and_peft() -> Result {
    for name in DECODERS {
        for (with_adapter, logits_key, loss_key) in [(true, "logits.0", "loss"), (false, "base_logits.0", "base_loss")]
        {
            let case = open(name, with_adapter)?;
            let golden = tensors(&case.folder.join("golden.safetensors"));
            let logits = case.decoder.logits(&case.memory, &rows(&case.data, 0..1))?;
            let (shape, want) = &golden[logits_key];
            assert_eq!([logits.rows(), logits.cols()], shape[..]);
            let error = relative_error(&logits.to_vec(), want);
            assert!(error <= TOLERANCE, "{name} {logits_key}: {error}");
            let batch = rows(&case.data, 0..4);
            let want = json(&case.folder.join("golden.json"))[loss_key].as_f64().ok_or("a loss")?;
            let mut tape = loract_autograd::Tape::evaluation(&case.memory);
            let output = case.decoder.loss(&mut tape, &batch)?;
            let loss = output.nll.iter().map(|&x| f64::from(x)).sum::<f64>() / output.nll.len() as f64;
            assert!((loss - want).abs() <= TOLERANCE * want, "{name} {loss_key}: {loss} {want}");
        }
        let case = open(name, true)?;
        let golden = json(&case.folder.join("golden.json"));
        // Several batches, so that rows are divided among them.
        let found = evaluate(&case.decoder, &case.memory, &case.data, 40)?;
        let want = golden["file_loss"].as_f64().ok_or("a loss")?;
        assert!((found.loss - want).abs() <= TOLERANCE * want, "{name}: {found:?} {want}");
        assert_eq!(golden["file_tokens"], found.tokens);
    }
    Ok(())
}

/// Every LoRA gradient against PEFT's: exact, recomputed, and through factors of full rank.
#[test]
fn every_gradient_equals_pefts_in_every_preset_at_full_rank() -> Result {
    for name in DECODERS {
        for (preset, policy) in presets(Rank::Fraction { num: 1, den: 1 }) {
            let case = open(name, true)?;
            let golden = tensors(&case.folder.join("golden.safetensors"));
            let batch = rows(&case.data, 0..4);
            // More rows than features, or there would be nothing to compress.
            assert!(batch.tokens() > case.decoder.config().hidden_size);
            let compresses = !policy.forms.is_empty();
            let mut trainer = trainer(case, policy);
            let Gradient { grads, memory: report, .. } = trainer.gradient(&[batch])?;
            let saved: Vec<String> = report.saved.keys().map(ToString::to_string).collect();
            assert_eq!(saved.iter().any(|s| s.ends_with("low_rank")), compresses, "{name} {preset}: {saved:?}");
            let params = trainer.decoder().params();
            assert_eq!(params.len(), golden.keys().filter(|key| key.starts_with("grad.")).count(), "{name}");
            for param in params {
                let gradient = grads.get(param).ok_or_else(|| format!("{} has no gradient", param.name()))?.to_vec();
                assert!(gradient.iter().any(|&g| g != 0.0), "{} is zero", param.name());
                let error = relative_error(&gradient, &golden[&format!("grad.{}", param.name())].1);
                assert!(error <= TOLERANCE, "{name} {preset} {}: {error}", param.name());
            }
        }
    }
    Ok(())
}

/// The last row of a mixture leaves experts idle: theirs are gradients of zeros, where PyTorch has none.
#[test]
fn an_idle_experts_gradient_is_zeros() -> Result {
    for name in ["mixtral", "qwen3-moe", "olmoe"] {
        for (preset, policy) in presets(Rank::Fraction { num: 1, den: 1 }) {
            let case = open(name, true)?;
            let golden = tensors(&case.folder.join("golden.safetensors"));
            let last = case.data.examples().len() - 1;
            let batch = rows(&case.data, last..last + 1);
            let want = json(&case.folder.join("golden.json"))["idle_loss"].as_f64().ok_or("a loss")?;
            let mut trainer = trainer(case, policy);
            // Once before, so that memory is used again.
            let busy = trainer.gradient(&[rows(&open(name, true)?.data, 0..4)])?;
            drop(busy);
            let Gradient { grads, loss, .. } = trainer.gradient(&[batch])?;
            assert!((loss - want).abs() <= TOLERANCE * want, "{name} {preset}: {loss} {want}");
            let mut idle = 0;
            for param in trainer.decoder().params() {
                let gradient = grads.get(param).ok_or_else(|| format!("{} has no gradient", param.name()))?.to_vec();
                match golden.get(&format!("idle.grad.{}", param.name())) {
                    Some((_, want)) => {
                        let error = relative_error(&gradient, want);
                        assert!(error <= TOLERANCE, "{name} {preset} {}: {error}", param.name());
                    }
                    None => {
                        idle += 1;
                        assert!(gradient.iter().all(|&g| g == 0.0), "{name} {preset} {}", param.name());
                    }
                }
            }
            assert!(idle > 0, "{name}");
        }
    }
    Ok(())
}

/// Recomputation and compression never change forward: the same loss to the last bit.
#[test]
fn losses_are_bit_identical_in_every_preset() -> Result {
    for name in DECODERS {
        let mut losses = Vec::new();
        for (preset, policy) in presets(Rank::Fraction { num: 1, den: 8 }) {
            let case = open(name, true)?;
            let batches = [rows(&case.data, 0..4), rows(&case.data, 4..7)];
            let Gradient { loss, memory: report, .. } = trainer(case, policy).gradient(&batches)?;
            losses.push((preset, loss, report.saved_bytes));
        }
        assert!(losses.iter().all(|(_, loss, _)| *loss == losses[0].1), "{name}: {losses:?}");
        let exact = losses[0].2;
        assert!(losses[1..].iter().all(|(_, _, saved)| *saved < exact), "{name}: {losses:?}");
    }
    Ok(())
}

#[test]
fn ten_adamw_steps_equal_pytorchs() -> Result {
    for name in STEPPED {
        let case = open(name, true)?;
        let golden = tensors(&case.folder.join("golden.safetensors"));
        let numbers = json(&case.folder.join("golden.json"));
        let batches: Vec<TokenBatch> = (0..10).map(|s| rows(&case.data, 2 * s..2 * s + 2)).collect();
        let mut trainer = trainer(case, Policy::exact());
        for (step, batch) in batches.into_iter().enumerate() {
            let report = trainer.step(&[batch])?;
            for (key, got) in [("step_losses", report.loss), ("grad_norms", report.grad_norm)] {
                let want = numbers[key][step].as_f64().ok_or("a number")?;
                assert!((got - want).abs() <= TOLERANCE * want, "{name} {key} {step}: {got} {want}");
            }
        }
        for param in trainer.decoder().params() {
            let error = relative_error(&param.value().to_vec(), &golden[&format!("steps.{}", param.name())].1);
            assert!(error <= TOLERANCE, "{name} {}: {error}", param.name());
        }
    }
    Ok(())
}

/// Micro-batches of unequal sizes equal one large batch; in every preset, one or many leave nothing behind.
#[test]
fn accumulation_equals_one_large_batch() -> Result {
    for (preset, policy) in presets(Rank::Fraction { num: 1, den: 1 }) {
        let case = open("llama-tied", true)?;
        let (one, many) = ([rows(&case.data, 0..5)], [rows(&case.data, 0..1), rows(&case.data, 1..5)]);
        let memory = case.memory.clone();
        let mut trainer = trainer(case, policy);
        let Gradient { grads: a, loss: loss_a, .. } = trainer.gradient(&one)?;
        let Gradient { grads: b, loss: loss_b, .. } = trainer.gradient(&many)?;
        assert!((loss_a - loss_b).abs() <= 1e-6 * loss_a);
        for param in trainer.decoder().params() {
            let (x, y) = (a.get(param).ok_or("a gradient")?, b.get(param).ok_or("a gradient")?);
            let error = relative_error(&x.to_vec(), &y.to_vec());
            assert!(error <= TOLERANCE, "{preset} {}: {error}", param.name());
        }
        assert_eq!(memory.ledger().activation_bytes(), 0, "{preset}");
    }
    Ok(())
}

/// Full fine-tuning: the gradient of every base weight, tied embedding included.
#[test]
fn every_base_gradient_equals_pytorchs() -> Result {
    for (preset, policy) in presets(Rank::Fraction { num: 1, den: 1 }) {
        let mut case = open("llama-tied", false)?;
        let golden = tensors(&case.folder.join("fullgrad.safetensors"));
        case.decoder.train_all(&case.memory);
        let batch = rows(&case.data, 0..4);
        let mut trainer = trainer(case, policy);
        let Gradient { grads, .. } = trainer.gradient(&[batch])?;
        let params = trainer.decoder().params();
        assert_eq!(params.len(), golden.len());
        for param in params {
            let gradient = grads.get(param).ok_or_else(|| format!("{} has no gradient", param.name()))?;
            let error = relative_error(&gradient.to_vec(), &golden[param.name()].1);
            assert!(error <= TOLERANCE, "{preset} {}: {error}", param.name());
        }
    }
    Ok(())
}

#[test]
fn a_gguf_file_gives_the_folders_logits() -> Result {
    let case = open("llama-tied", false)?;
    let source = ModelSource::open(&folder("gguf").join("llama.gguf"))?;
    let decoder = Decoder::load(&case.memory, source.config, source.weights)?;
    let batch = rows(&case.data, 0..1);
    let (a, b) = (case.decoder.logits(&case.memory, &batch)?, decoder.logits(&case.memory, &batch)?);
    assert!(relative_error(&b.to_vec(), &a.to_vec()) <= 1e-6);
    Ok(())
}

#[test]
fn an_adapter_written_and_read_again_is_the_same() -> Result {
    let case = open("llama-untied", true)?;
    let lora = case.lora.ok_or("an adapter")?;
    let out = std::env::temp_dir().join(format!("loract-adapter-{}", std::process::id()));
    std::fs::create_dir_all(&out)?;
    for file in adapter::files(&case.decoder, &lora, "base") {
        file.write(&out.join(&*file.name))?;
    }
    let mut again = open("llama-untied", false)?;
    assert_eq!(adapter::load(&again.memory, &mut again.decoder, &out)?, lora);
    for (a, b) in case.decoder.params().into_iter().zip(again.decoder.params()) {
        assert_eq!((a.name(), a.value().to_vec()), (b.name(), b.value().to_vec()));
    }
    // Keys and shapes are those that PEFT itself wrote.
    let keys = |path: &Path| tensors(path).into_iter().map(|(k, (shape, _))| (k, shape)).collect::<Vec<_>>();
    let theirs = case.folder.join("adapter").join(adapter::WEIGHTS_FILE);
    assert_eq!(keys(&out.join(adapter::WEIGHTS_FILE)), keys(&theirs));
    // Another model refuses it, and says why.
    let mut other = open("llama-tied", false)?;
    let error = adapter::load(&other.memory, &mut other.decoder, &out).err().ok_or("an error")?.to_string();
    assert!(error.contains("of a wrong shape") && error.contains("q_proj.lora_B.weight: stored 48x4"), "{error}");
    std::fs::remove_dir_all(&out)?;
    Ok(())
}

/// rsLoRA, DoRA, LoRA-FA and modules trained as a whole (of a tied model the head is one) against PEFT: loss and every gradient, exact and through factors of full rank.
#[test]
fn other_kinds_of_adapters_equal_pefts() -> Result {
    let numbers = json(&folder("llama-tied").join("variants.json"));
    let golden = tensors(&folder("llama-tied").join("variants.safetensors"));
    for (kind, adapter_folder, trained) in [
        ("rslora", "adapter-rslora", 28),
        ("dora", "adapter-dora", 42),
        ("fa", "adapter", 14),
        ("modules", "adapter-modules", 12),
    ] {
        for (preset, policy) in presets(Rank::Fraction { num: 1, den: 1 }) {
            let mut case = open("llama-tied", false)?;
            adapter::load(&case.memory, &mut case.decoder, &case.folder.join(adapter_folder))?;
            if kind == "fa" {
                case.decoder.freeze_lora_a();
            }
            let batch = rows(&case.data, 0..4);
            let mut trainer = trainer(case, policy);
            let Gradient { grads, loss, .. } = trainer.gradient(&[batch])?;
            let want = numbers[format!("{kind}.loss")].as_f64().ok_or("a loss")?;
            assert!((loss - want).abs() <= TOLERANCE * want, "{kind} {preset}: {loss} {want}");
            let params = trainer.decoder().params();
            assert_eq!(params.len(), trained, "{kind}");
            for param in params {
                let gradient = grads.get(param).ok_or_else(|| format!("{} has no gradient", param.name()))?.to_vec();
                let key = if kind == "modules" && !param.name().contains("lora") { "base_model.model." } else { "" };
                let error = relative_error(&gradient, &golden[&format!("{kind}.grad.{key}{}", param.name())].1);
                assert!(error <= TOLERANCE, "{kind} {preset} {}: {error}", param.name());
            }
        }
    }
    Ok(())
}

/// What is written of another kind of adapter has the keys, shapes and settings that PEFT wrote.
#[test]
fn other_kinds_of_adapters_are_written_as_peft_does() -> Result {
    for kind in ["adapter-rslora", "adapter-dora", "adapter-modules"] {
        let mut case = open("llama-tied", false)?;
        let theirs = case.folder.join(kind);
        let lora = adapter::load(&case.memory, &mut case.decoder, &theirs)?;
        let out = std::env::temp_dir().join(format!("loract-{kind}-{}", std::process::id()));
        std::fs::create_dir_all(&out)?;
        for file in adapter::files(&case.decoder, &lora, "base") {
            file.write(&out.join(&*file.name))?;
        }
        let [ours, reference] = [&out, &theirs].map(|folder| json(&folder.join(adapter::CONFIG_FILE)));
        for key in ["r", "lora_alpha", "target_modules", "use_rslora", "use_dora"] {
            // 12 and 12.0 are the same alpha.
            let same =
                ours[key] == reference[key] || (ours[key].as_f64() == reference[key].as_f64() && ours[key].is_number());
            assert!(same, "{kind} {key}: {} {}", ours[key], reference[key]);
        }
        let weights = |folder: &Path| tensors(&folder.join(adapter::WEIGHTS_FILE));
        assert_eq!(weights(&out), weights(&theirs), "{kind}");
        // Read again it is the same adapter, modules by their whole names.
        let mut again = open("llama-tied", false)?;
        assert_eq!(adapter::load(&again.memory, &mut again.decoder, &out)?, lora, "{kind}");
        std::fs::remove_dir_all(&out)?;
    }
    Ok(())
}

/// A merged model, in one file or several, gives the logits that PEFT gives of model and adapter.
#[test]
fn merged_models_give_the_logits_of_their_adapters() -> Result {
    for (name, adapter_folder) in DECODERS
        .map(|name| (name, "adapter"))
        .into_iter()
        .chain(["adapter-rslora", "adapter-dora", "adapter-modules"].map(|kind| ("llama-tied", kind)))
    {
        let mut case = open(name, false)?;
        let companions = Companions::of(&ModelSource::open(&case.folder)?)?;
        adapter::load(&case.memory, &mut case.decoder, &case.folder.join(adapter_folder))?;
        let batch = rows(&case.data, 0..1);
        let want = match adapter_folder {
            "adapter" => tensors(&case.folder.join("golden.safetensors"))["logits.0"].1.clone(),
            _ => case.decoder.logits(&case.memory, &batch)?.to_vec(),
        };
        for most_bytes in [usize::MAX, 12_000] {
            let out = std::env::temp_dir().join(format!("loract-merged-{}", std::process::id()));
            std::fs::create_dir_all(&out)?;
            let mut files = case.decoder.to_files(StoredAs::F32, most_bytes);
            let written = files.iter().filter(|file| file.name.ends_with(".safetensors")).count();
            assert_eq!(written == 1, most_bytes == usize::MAX, "{name} {adapter_folder}: {written}");
            files.extend(companions.files(&case.decoder, StoredAs::F32));
            for file in &files {
                file.write(&out.join(&*file.name))?;
            }
            let merged = ModelSource::open(&out)?;
            let memory = Memory::new();
            let got = Decoder::load(&memory, merged.config, merged.weights)?.logits(&memory, &batch)?.to_vec();
            let error = relative_error(&got, &want);
            assert!(error <= TOLERANCE, "{name} {adapter_folder}: {error}");
            std::fs::remove_dir_all(&out)?;
        }
    }
    Ok(())
}

/// With A frozen nothing of a layer's input is kept but what a norm needs; a new DoRA pair changes nothing at first.
#[test]
fn what_other_kinds_keep_and_begin_with() -> Result {
    let saved = |kind: LoraConfig| -> Result<(usize, f64)> {
        let mut case = open("llama-tied", false)?;
        case.decoder.attach_lora(&case.memory, &kind, 1)?;
        let batch = rows(&case.data, 0..4);
        let Gradient { loss, memory, .. } = trainer(case, Policy::exact()).gradient(&[batch])?;
        Ok((memory.saved_bytes, loss))
    };
    let rank = 4;
    let plain = saved(LoraConfig { rank, ..LoraConfig::default() })?;
    let frozen = saved(LoraConfig { rank, a: FactorA::Frozen, ..LoraConfig::default() })?;
    let dora = saved(LoraConfig { rank, magnitude: Magnitude::Trained, ..LoraConfig::default() })?;
    // Kept for A alone are the inputs of the output and down projections (32 and 48 features) and, as no gradient goes on
    // below it, that of the first layer (32).
    let tokens = rows(&open("llama-tied", false)?.data, 0..4).tokens();
    assert_eq!(plain.0 - frozen.0, 4 * tokens * (2 * (32 + 48) + 32));
    assert_eq!(plain.1, frozen.1);
    assert!((plain.1 - dora.1).abs() <= 1e-6 * plain.1, "{plain:?} {dora:?}");
    // ‖V‖ of each output of each layer.
    assert_eq!(dora.0 - plain.0, 2 * 4 * (32 + 16 + 16 + 32 + 48 + 48 + 32));
    Ok(())
}

#[test]
fn targets_are_names_patterns_or_all() -> Result {
    let attached = |targets: &[&str]| -> Result<(Vec<String>, usize)> {
        let mut case = open("llama-tied", false)?;
        let targets = targets.iter().map(|t| t.to_string()).collect();
        let lora = case.decoder.attach_lora(&case.memory, &LoraConfig { targets, ..LoraConfig::default() }, 1)?;
        Ok((lora.targets, case.decoder.params().len() / 2))
    };
    let all = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"];
    assert_eq!(attached(&["all-linear"])?, (all.map(str::to_owned).to_vec(), 14));
    assert_eq!(attached(&["self_attn.q_proj", "q_proj"])?.1, 2);
    let (names, pairs) = attached(&["layers.1.mlp.*", "v_proj"])?;
    assert_eq!((names.len(), pairs), (4, 5));
    assert!(names.contains(&"model.layers.1.mlp.up_proj".to_owned()), "{names:?}");
    for wrong in ["layers.7.*", "proj", ""] {
        let error = attached(&[wrong]).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("q_proj, k_proj"), "{wrong}: {error}");
    }
    Ok(())
}
