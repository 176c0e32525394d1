//! The first screen: what was run, how far it got, and what it came to.

use loract_autograd::Recompute;
use loract_train::{Activations, Named};

use super::account::Account;
use super::html::Html;
use super::plate::run_colour;
use super::run::{Run, State};
use crate::output::{bytes, duration};

/// A fact: large, and what belongs to it, small.
struct Fact {
    value: String,
    sub: String,
}

/// A card has a line for each run that knows the fact.
type Card = (&'static str, fn(&Run) -> Option<Fact>);

const CARDS: [Card; 7] = [
    ("Loss, first and last step", loss),
    ("Evaluation loss", evaluation),
    ("Steps", steps),
    ("Speed", speed),
    ("Peak of activations", peak),
    ("Kept for backward", kept),
    ("Peak of the process", process),
];

/// Writes heading, headlines, notes and cards.
pub fn put(html: &mut Html, runs: &[Run]) {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    html.element("h1", names.join(" · ")).raw("\n");
    for (at, run) in runs.iter().enumerate() {
        html.inside("p class=headline", |html| {
            if runs.len() > 1 {
                html.swatch(run_colour(at)).element("b", &run.name).text(": ");
            }
            html.text(headline(run));
        });
        for note in &run.notes {
            let name = if runs.len() > 1 { format!("{}: ", run.name) } else { String::new() };
            html.element("p class=warn", format!("{name}{note}"));
        }
        html.raw("\n");
    }
    html.raw(if runs.len() > 1 { "<div class=\"cards several\">\n" } else { "<div class=cards>\n" });
    for (title, fact) in CARDS {
        let facts: Vec<_> = runs.iter().enumerate().filter_map(|(at, run)| Some((at, fact(run)?))).collect();
        if facts.is_empty() {
            continue;
        }
        html.inside("div class=card", |html| {
            html.element("b", title);
            for (at, Fact { value, sub }) in facts {
                html.inside("div class=value", |html| {
                    if runs.len() > 1 {
                        html.swatch(run_colour(at));
                    }
                    html.text(value);
                });
                html.element("div class=sub", sub);
            }
        });
        html.raw("\n");
    }
    html.raw("</div>\n");
}

/// The run in a sentence.
fn headline(run: &Run) -> String {
    let account = &run.account;
    let mut parts = Vec::new();
    // A report names the model, the record of a checkpoint its path.
    parts.extend(account.model.clone().or(account.setting("model")));
    parts.extend(activations(account));
    match account.setting("fine_tune_type").as_deref() {
        Some("full") => parts.push("every weight is trained".into()),
        Some("head") => parts.push("the head is trained".into()),
        _ => parts.extend(lora(account)),
    }
    if let (Some(rows), accum) = (account.number("batch_size"), account.number("grad_accum").unwrap_or(1)) {
        parts.push(if accum > 1 { format!("{accum} × {rows} rows a step") } else { format!("{rows} rows a step") });
    }
    parts.extend(account.setting("data").map(|data| format!("data {data}")));
    if !account.resumed_after.is_empty() {
        let steps: Vec<_> = account.resumed_after.iter().map(u64::to_string).collect();
        parts.push(format!("resumed after step {}", steps.join(", ")));
    }
    parts.extend(account.loract.as_ref().map(|version| format!("loract {version}")));
    if parts.is_empty() { run.folder.display().to_string() } else { parts.join(" · ") }
}

fn lora(account: &Account) -> Option<String> {
    let (rank, targets) = (account.number("lora_rank")?, account.setting("lora_targets")?);
    let on = |key| account.config.get(key).and_then(serde_json::Value::as_bool) == Some(true);
    let kind = match (on("dora"), on("lora_fa")) {
        (true, _) => "DoRA",
        (_, true) => "LoRA, A frozen,",
        _ => "LoRA",
    };
    Some(format!("{kind} r = {rank} on {targets}"))
}

/// The preset, or what was chosen in its place.
pub fn activations(account: &Account) -> Option<String> {
    let (recompute, sites) = (account.setting("recompute")?, account.config.get("sites")?.as_array()?);
    let mut sites: Vec<&str> = sites.iter().filter_map(serde_json::Value::as_str).collect();
    sites.sort_unstable();
    let word = |r: Recompute| Recompute::NAMES.iter().find(|(_, named)| *named == r).map(|(word, _)| *word);
    let same = |preset: Activations| {
        let forms = preset.policy().forms;
        let mut own: Vec<String> = forms.iter().map(|(site, form)| format!("{site}={form}")).collect();
        own.sort_unstable();
        own == sites && word(preset.recompute()) == Some(recompute.as_str())
    };
    let preset = Activations::ALL.into_iter().find(|(_, preset)| same(*preset)).map(|(name, _)| name);
    Some(match preset {
        Some(name) => format!("preset {name}"),
        None if recompute == "none" => format!("activations {}", sites.join(", ")),
        None => format!("recompute {recompute}, activations {}", sites.join(", ")),
    })
}

fn loss(run: &Run) -> Option<Fact> {
    let (first, last) = (run.log.steps.first()?, run.last()?);
    let value = format!("{:.4} → {:.4}", first.loss, last.loss);
    let least = run.log.steps.iter().min_by(|a, b| a.loss.total_cmp(&b.loss))?;
    Some(Fact { value, sub: format!("least {:.4} at step {}", least.loss, least.step) })
}

fn evaluation(run: &Run) -> Option<Fact> {
    let last = run.log.evaluations.last()?;
    let mut sub = vec![format!("after step {}", last.step)];
    if let Some(told) = run.account.evaluation.as_ref().filter(|told| told.loss == last.loss) {
        sub.extend(told.perplexity.map(|perplexity| format!("perplexity {perplexity:.3}")));
        sub.push(match told.top5_accuracy {
            Some(top5) => format!("{} images, top-5 {top5:.4}", told.rows),
            None => format!("{} tokens", told.tokens),
        });
    }
    sub.extend(last.accuracy.map(|accuracy| format!("accuracy {accuracy:.4}")));
    sub.extend(run.account.best.as_ref().map(|best| format!("best {:.4} after step {}", best.loss, best.step)));
    Some(Fact { value: format!("{:.4}", last.loss), sub: sub.join(", ") })
}

fn steps(run: &Run) -> Option<Fact> {
    let last = run.last()?.step;
    let value = run.steps_asked().map_or_else(|| last.to_string(), |asked| format!("{last} of {asked}"));
    let tokens: u64 = run.log.steps.iter().map(|step| step.tokens).sum();
    let ended = match (run.state, run.account.stopped_early) {
        (State::Unfinished, _) => "not finished",
        (State::Finished, true) => "stopped early, as evaluations were no better",
        (State::Finished, false) => "finished",
    };
    Some(Fact { value, sub: format!("{ended}, {tokens} tokens") })
}

fn speed(run: &Run) -> Option<Fact> {
    let mut seconds: Vec<f64> = run.log.steps.iter().map(|step| step.seconds).filter(|s| s.is_finite()).collect();
    seconds.sort_by(f64::total_cmp);
    let median = *seconds.get(seconds.len() / 2)?;
    let all: f64 = seconds.iter().sum();
    let tokens: u64 = run.log.steps.iter().map(|step| step.tokens).sum();
    let mut sub = format!("median step {median:.3} s, steps together {}", duration(all));
    if let Some(wall) = run.account.wall_seconds {
        sub += &format!(", the run {}", duration(wall));
    }
    Some(Fact { value: format!("{:.1} tokens/s", tokens as f64 / all), sub })
}

fn peak(run: &Run) -> Option<Fact> {
    let peak = run.log.steps.iter().map(|step| step.peak_activation_bytes).max()?;
    let mut sub = Vec::new();
    if let Some(memory) = &run.account.memory {
        sub.push(format!("in {}, at {}", memory.peak_phase, memory.peak_op));
    }
    let planned = run.account.planned.as_ref().map(|planned| planned.peak_activation_bytes);
    sub.extend(planned.map(|planned| beside_plan(peak, planned)));
    Some(Fact { value: bytes(peak), sub: sub.join("; ") })
}

fn kept(run: &Run) -> Option<Fact> {
    let saved = run.log.steps.iter().map(|step| step.saved_bytes).max()?;
    let planned = run.account.planned.as_ref().map(|planned| planned.saved_bytes);
    Some(Fact { value: bytes(saved), sub: planned.map_or_else(String::new, |planned| beside_plan(saved, planned)) })
}

fn process(run: &Run) -> Option<Fact> {
    let peak = run.account.process_peak_bytes?;
    let planned = run.account.planned_process_peak_bytes;
    Some(Fact { value: bytes(peak), sub: planned.map_or_else(String::new, |planned| beside_plan(peak, planned)) })
}

/// What was measured against what was planned.
pub fn beside_plan(measured: usize, planned: usize) -> String {
    if measured == planned {
        return "as planned, to the byte".into();
    }
    let percent = 100.0 * (measured as f64 / planned as f64 - 1.0);
    format!("plan {}, measured {percent:+.1} %", bytes(planned))
}
