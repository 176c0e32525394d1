//! What a step needed, by category and site; and what the process itself needed.

use std::collections::BTreeMap;

use loract_autograd::{Category, Memory, Peak, Timeline};
use serde_json::{Value, json};

/// The ledger's account of a step.
#[derive(Debug, Clone, Default)]
pub struct MemoryReport {
    /// Bytes kept for backward when forward ended; of several micro-batches the largest.
    pub saved_bytes: usize,
    /// Those bytes by site and form.
    pub saved: BTreeMap<Category, usize>,
    /// The peak of activation bytes.
    pub peak: Peak,
    /// Live bytes that are not activations, at the end.
    pub resident: BTreeMap<Category, usize>,
    /// Live activation bytes from its beginning to its end.
    pub timeline: Timeline,
}

impl MemoryReport {
    /// Begins an account.
    pub(crate) fn begin(memory: &Memory) -> Self {
        memory.ledger().reset_peak();
        memory.ledger().begin_timeline();
        Self::default()
    }

    /// Notes what is kept now that forward has ended.
    pub(crate) fn forward_ended(&mut self, memory: &Memory) {
        let saved_bytes = memory.ledger().saved_bytes();
        if saved_bytes >= self.saved_bytes {
            self.saved_bytes = saved_bytes;
            self.saved = memory.ledger().live();
            self.saved.retain(|category, _| matches!(category, Category::Saved(..)));
        }
    }

    /// Notes the peak.
    pub(crate) fn end(&mut self, memory: &Memory) {
        self.peak = memory.ledger().peak();
        self.timeline = memory.ledger().end_timeline();
        self.resident = memory.ledger().live();
        self.resident.retain(|category, _| !category.is_activation());
    }

    /// As JSON: names of categories and bytes.
    pub fn to_json(&self) -> Value {
        let named = |map: &BTreeMap<Category, usize>| -> Value {
            map.iter().filter(|(_, b)| **b > 0).map(|(c, b)| (c.to_string(), json!(b))).collect()
        };
        json!({
            "saved_bytes": self.saved_bytes,
            "saved": named(&self.saved),
            "peak_activation_bytes": self.peak.activation_bytes,
            "peak_phase": self.peak.phase.to_string(),
            "peak_op": self.peak.op,
            "at_peak": named(&self.peak.by_category),
            "resident": named(&self.resident),
        })
    }

    /// The timeline as JSON: by category the bytes of each moment, and its phase.
    pub fn timeline_json(&self) -> Value {
        let moments = self.timeline.moments();
        let mut bytes: BTreeMap<Category, Vec<usize>> = BTreeMap::new();
        for (at, moment) in moments.iter().enumerate() {
            for (category, live) in &moment.by_category {
                bytes.entry(*category).or_insert_with(|| vec![0; moments.len()])[at] = *live;
            }
        }
        let bytes: Value = bytes.into_iter().map(|(category, bytes)| (category.to_string(), json!(bytes))).collect();
        json!({
            "changes_a_moment": self.timeline.stretch(),
            "phase": moments.iter().map(|moment| moment.phase.to_string()).collect::<Vec<_>>(),
            "bytes": bytes,
        })
    }
}

/// Largest resident memory of this process so far; `None` where the system does not tell (it does on Linux).
pub fn process_peak_bytes() -> Option<usize> {
    status("VmHWM:")
}

/// Resident memory of this process now; `None` where the system does not tell.
pub fn process_resident_bytes() -> Option<usize> {
    status("VmRSS:")
}

/// What the process needs besides what a [`MemoryReport`] counts.
#[derive(Debug, Clone, Copy)]
pub struct Baseline {
    program: usize,
}

impl Baseline {
    /// Notes the pages of the program, before those of a model's file are mapped beside them.
    pub fn before_weights() -> Option<Self> {
        status("RssFile:").map(|program| Self { program })
    }

    /// The program, and private memory less the tensors in `memory`. Pages of weights that loading touched are left out: the
    /// ledger counts them all.
    pub fn bytes(self, memory: &Memory) -> Option<usize> {
        let live = memory.ledger().live();
        let tensors: usize =
            live.iter().filter(|(c, _)| **c != Category::FrozenWeights && !memory.is_hollow()).map(|(_, b)| b).sum();
        Some(self.program + status("RssAnon:")?.saturating_sub(tensors))
    }
}

fn status(key: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok().map(|kb| kb * 1024)
}
