//! Attaching LoRA pairs to the linear layers of a model.

use loract_autograd::ops::{Linear, Lora};
use loract_autograd::{Category, Memory, Param, Rng, Values};

use crate::error::Error;
use crate::model::Model;

/// The target that stands for every linear layer but the head, as in PEFT.
pub const ALL_LINEAR: &str = "all-linear";

/// Which layers get a LoRA pair, and of what kind. r is the LoRA rank, never the compression rank.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// r.
    pub rank: usize,
    /// α, which sets the scale of the branch.
    pub alpha: f32,
    /// How α does.
    pub scaling: Scaling,
    /// What becomes of A.
    pub a: FactorA,
    /// Whether rows get a trained length.
    pub magnitude: Magnitude,
    /// Probability that an element of a branch's input is dropped in training.
    pub dropout: f32,
    /// Layers by name or the last parts of it (`q_proj`, `self_attn.q_proj`), by pattern (`layers.0.*`), or
    /// [`ALL_LINEAR`].
    pub targets: Vec<String>,
    /// Modules that are trained as a whole beside the pairs, and stored with them: by name or the last parts of it
    /// (`lm_head`), or by pattern.
    pub modules_to_save: Vec<String>,
}

/// What the branch is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scaling {
    /// α/r.
    #[default]
    Plain,
    /// α/√r: rank-stabilised LoRA (rsLoRA, arXiv 2312.03732).
    RankStabilised,
}

/// Whether A is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FactorA {
    /// Yes.
    #[default]
    Trained,
    /// It stays as drawn (LoRA-FA, arXiv 2308.03303): nothing of the layer's input is kept for backward.
    Frozen,
}

/// Whether each row of W + s·B·A has a trained length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Magnitude {
    /// No: LoRA.
    #[default]
    AsIs,
    /// Yes, that of W's row at first: weight-decomposed LoRA (DoRA, arXiv 2402.09353).
    Trained,
}

impl Default for LoraConfig {
    /// r = 16, α = 32 on every linear layer, no dropout, no whole modules.
    fn default() -> Self {
        let (scaling, a, magnitude, modules_to_save) = Default::default();
        let targets = vec![ALL_LINEAR.to_owned()];
        Self { rank: 16, alpha: 32.0, scaling, a, magnitude, dropout: 0.0, targets, modules_to_save }
    }
}

impl LoraConfig {
    /// s, what the branch is multiplied by.
    pub fn scale(&self) -> f32 {
        match self.scaling {
            Scaling::Plain => self.alpha / self.rank as f32,
            Scaling::RankStabilised => self.alpha / (self.rank as f32).sqrt(),
        }
    }
}

/// Whether `target` names the layer `name`: the whole name, the last parts of it, or a pattern for one of them, in which
/// `*` stands for any characters.
pub(crate) fn names(target: &str, name: &str) -> bool {
    let ends = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
    ends.map(|at| &name[at..]).any(|end| fits(target, end))
}

/// Whether `text` fits `pattern`, of which `*` stands for any characters.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    let starts = std::iter::once(0).chain(rest.char_indices().map(|(at, c)| at + c.len_utf8()));
    starts.map(|at| &rest[at..]).any(|rest| fits(after, rest))
}

/// The last parts of `names`, each once, in the order they come.
pub(crate) fn last_parts(names: &[String]) -> Vec<String> {
    let mut known: Vec<String> = Vec::new();
    for name in names {
        let last = name.rsplit('.').next().unwrap_or(name);
        if !known.iter().any(|k| k == last) {
            known.push(last.to_owned());
        }
    }
    known
}

/// The prefix that PEFT puts before a layer's name.
const PEFT_PREFIX: &str = "base_model.model.";

/// The name of a layer's DoRA magnitude in a PEFT adapter file.
pub(crate) fn peft_magnitude(layer: &str) -> String {
    format!("{PEFT_PREFIX}{layer}.lora_magnitude_vector")
}

/// The name of a base tensor in a PEFT adapter file.
pub(crate) fn peft_tensor(name: &str) -> String {
    format!("{PEFT_PREFIX}{name}")
}

/// The names of a layer's A and B in a PEFT adapter file.
pub(crate) fn peft_names(layer: &str) -> [String; 2] {
    ["A", "B"].map(|side| format!("{PEFT_PREFIX}{layer}.lora_{side}.weight"))
}

/// See [`Model::attach_lora`].
pub(crate) fn attach_new<M: Model>(
    model: &mut M,
    memory: &Memory,
    config: &LoraConfig,
    seed: u64,
) -> Result<LoraConfig, Error> {
    attach_with(model, memory, config, |tag, name, rows, cols| {
        if name.ends_with("lora_B.weight") {
            return Ok(vec![0.0; rows * cols]);
        }
        if name.ends_with("lora_magnitude_vector") {
            return Ok(Vec::new());
        }
        let mut rng = Rng::new(&[seed, 0x10a, tag]);
        let bound = 1.0 / (cols as f32).sqrt();
        Ok((0..rows * cols).map(|_| bound * (2.0 * rng.uniform() - 1.0)).collect())
    })
}

/// The targets as PEFT writes them: names or last parts of names, sorted, each once.
///
/// # Errors
/// [`Error::NoSuchTarget`] if one matches no layer, or there is none.
fn resolve_targets<M: Model>(model: &M, targets: &[String]) -> Result<Vec<String>, Error> {
    let layers: Vec<String> = model.linears().into_iter().map(|(name, _)| name).collect();
    let known = last_parts(&layers);
    let mut resolved: Vec<String> = Vec::new();
    for target in targets {
        let found: Vec<String> = match target.as_str() {
            ALL_LINEAR => known.clone(),
            pattern if pattern.contains('*') => layers.iter().filter(|name| names(pattern, name)).cloned().collect(),
            name if layers.iter().any(|layer| names(name, layer)) => vec![name.to_owned()],
            _ => Vec::new(),
        };
        if found.is_empty() {
            return Err(Error::NoSuchTarget { target: target.clone(), known: known.join(", ") });
        }
        resolved.extend(found);
    }
    resolved.sort();
    resolved.dedup();
    match resolved.is_empty() {
        true => Err(Error::NoSuchTarget { target: String::new(), known: known.join(", ") }),
        false => Ok(resolved),
    }
}

/// As [`Model::attach_lora`] with numbers from `numbers(tag, PEFT name, rows, cols)`; of a magnitude it may give none.
pub(crate) fn attach_with<M: Model>(
    model: &mut M,
    memory: &Memory,
    config: &LoraConfig,
    mut numbers: impl FnMut(u64, &str, usize, usize) -> Result<Vec<f32>, Error>,
) -> Result<LoraConfig, Error> {
    let r = config.rank;
    if r == 0 {
        return Err(Error::LoraRank);
    }
    let targets = resolve_targets(model, &config.targets)?;
    let modules_to_save = model.resolve_modules(&config.modules_to_save)?;
    let is_target = |name: &str| targets.iter().any(|target| names(target, name));
    let both = |(name, _): &(String, &Linear)| is_target(name) && modules_to_save.contains(name);
    if let Some((layer, _)) = model.linears().into_iter().find(both) {
        return Err(Error::ModuleIsTarget { layer });
    }
    model.train_modules(memory, &modules_to_save)?;
    for (tag, (name, linear)) in model.linears_mut().into_iter().enumerate() {
        if !is_target(&name) {
            continue;
        }
        let (inputs, outputs) = (linear.weight.cols(), linear.weight.rows());
        let [a_name, b_name] = peft_names(&name);
        let a = numbers(tag as u64, &a_name, r, inputs)?;
        let b = numbers(tag as u64, &b_name, outputs, r)?;
        let magnitude = match config.magnitude {
            Magnitude::AsIs => None,
            Magnitude::Trained => {
                let name = peft_magnitude(&name);
                let m = numbers(tag as u64, &name, 1, outputs)?;
                // None given: those of W.
                let m = if m.is_empty() { linear.weight.row_norms(memory) } else { m };
                Some(Param::new(memory, name, 1, outputs, m))
            }
        };
        linear.lora = Some(Lora {
            a: match config.a {
                FactorA::Trained => Values::Trained(Param::new(memory, a_name, r, inputs, a)),
                FactorA::Frozen => Values::Frozen(memory.tensor(r, inputs, a, Category::FrozenWeights)),
            },
            b: Param::new(memory, b_name, outputs, r, b),
            scale: config.scale(),
            magnitude,
            dropout: config.dropout,
            // Tags of compression streams are small; dropout's lie apart from them.
            tag: 1 << 40 | tag as u64,
        });
    }
    Ok(LoraConfig { targets, modules_to_save, ..config.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_layers_by_their_last_parts_or_by_pattern() {
        let name = "model.layers.10.self_attn.q_proj";
        for yes in [
            "q_proj",
            "self_attn.q_proj",
            "model.layers.10.self_attn.q_proj",
            "layers.1*.q_proj",
            "*",
            "q_*",
            "*q_proj",
        ] {
            assert!(names(yes, name), "{yes}");
        }
        for no in ["proj", "k_proj", "attn.q_proj", "layers.1.*", "q_proj.*", "", "self_attn"] {
            assert!(!names(no, name), "{no}");
        }
    }
}
