//! The plan of a step is the ledger of that step: every preset and form, three shapes, to the byte.

use std::path::PathBuf;

use loract_autograd::{Form, Memory, Policy, Recompute, Site, WarmStart};
use loract_models::{Decoder, LoraConfig, ModelSource, Row, TokenBatch};
use loract_train::{Activations, Planner, Schedule, ScheduleKind, Trainer, Tuning};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn model(name: &str) -> PathBuf {
    loract_testkit::golden::folder(name)
}

fn lora() -> LoraConfig {
    LoraConfig { rank: 4, alpha: 8.0, ..LoraConfig::default() }
}

/// Rows of these lengths, of tokens that the tiny models have, so various that no activation is of low rank.
fn rows(lengths: &[usize]) -> TokenBatch {
    let row =
        |(at, &len): (usize, &usize)| Row::all((0..len).map(|t| ((7 * t * t + 13 * at + t) % 60) as u32).collect());
    let rows: Vec<Row> = lengths.iter().enumerate().map(row).collect();
    TokenBatch::new(&rows)
}

fn policies() -> Result<Vec<(String, Policy)>> {
    let mut all: Vec<_> =
        Activations::ALL.into_iter().map(|(name, preset)| (name.to_owned(), preset.policy())).collect();
    for form in ["bf16", "q2", "q3:sym", "q8:b128", "rqb:1/4:f32", "gauss:5", "tsvd:1/8", "rqb:1/8+q4"] {
        let parsed: Form = form.parse()?;
        let mut sites = Site::COMPRESSIBLE.to_vec();
        sites.retain(|site| Policy::allows(Recompute::None, *site));
        all.push((format!("all {form}"), Policy::uniform(Recompute::None, sites, parsed)));
        all.push((format!("layer {form}"), Policy::uniform(Recompute::Layer, [Site::CkptLayer], parsed)));
    }
    let again = Policy::uniform(Recompute::None, [Site::AttnQkv, Site::MlpOut], Form::Again);
    all.push(("again".to_owned(), again));
    let warm = Policy { warm_start: WarmStart::Reuse, ..Activations::Loract.policy() };
    all.push(("warm".to_owned(), warm));
    Ok(all)
}

#[test]
fn a_plan_equals_the_ledger() -> Result {
    let modules_to_save = vec!["lm_head".to_owned(), "input_layernorm".to_owned()];
    for (name, tuning) in [
        ("llama-tied", Tuning::Lora(lora())),
        ("llama-untied", Tuning::Lora(lora())),
        ("llama3-rope", Tuning::Lora(lora())),
        ("llama-tied", Tuning::Lora(LoraConfig { modules_to_save, targets: vec!["q_proj".into()], ..lora() })),
        ("llama-untied", Tuning::Full),
        ("llama-tied", Tuning::Head),
    ] {
        let mut planner = Planner::new(ModelSource::open(&model(name))?, &tuning, None)?;
        let memory = Memory::new();
        let source = ModelSource::open(&model(name))?;
        let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
        tuning.begin(&memory, &mut decoder, None, 0)?;
        let schedule = Schedule { kind: ScheduleKind::Constant, lr: 1e-3, warmup: 0, steps: 1 };
        let mut trainer = Trainer::new(decoder, &memory, Policy::exact(), schedule, 0.0, 0.0, 0);
        // As in the planner, so that the optimiser's state exists.
        trainer.step(&[rows(&[9])])?;
        for lengths in [&[40, 40][..], &[50], &[30, 7, 22, 15]] {
            for (label, policy) in policies()? {
                let what = format!("{name} {tuning:?} {lengths:?} {label}");
                let planned = planner.plan(&policy, &[rows(lengths)])?.memory;
                trainer.set_policy(policy);
                let measured = trainer.gradient(&[rows(lengths)])?.memory;
                assert_eq!(planned.saved, measured.saved, "{what}");
                assert_eq!(planned.saved_bytes, measured.saved_bytes, "{what}");
                assert_eq!(planned.peak, measured.peak, "{what}");
                assert_eq!(planned.resident, measured.resident, "{what}");
            }
        }
    }
    Ok(())
}
