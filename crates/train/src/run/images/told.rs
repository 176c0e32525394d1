//! What users are told of a run on images.

use std::path::Path;

use loract_models::weights::store::StoredAs;
use loract_models::{ClassifierHead, VisionSource};
use serde_json::{Map, Value, json};

use crate::classes::Classes;

/// That there is a new head, if there is.
pub(super) fn new_head(classes: &Classes, source: &VisionSource, from: Option<&Path>) -> Option<String> {
    if classes.head == ClassifierHead::Stored || from.is_some() {
        return None;
    }
    let why = match source.stored_classes() {
        Some(stored) => format!("the model's is for {stored} classes, which are not those of the data"),
        None => "the model has none".to_owned(),
    };
    Some(format!("a new head for {} classes is trained: {why}", classes.labels.len()))
}

/// The class of Transformers that has to be named to open the model as a classifier of one head: its file names another
/// classifier, such as that of DeiT with a second head for its teacher.
pub(super) fn class_to_name(source: &VisionSource) -> Option<String> {
    let class = |values: &Map<String, Value>| Some(values.get("architectures")?.get(0)?.as_str()?.to_owned());
    let text = std::fs::read(source.weights.path().join("config.json")).ok()?;
    let stored = class(&serde_json::from_slice(&text).ok()?)?;
    let ours = class(&source.config.to_json(StoredAs::F32))?;
    (stored != ours && stored.contains("ForImageClassification")).then_some(ours)
}

/// The code that opens the model called `base` as one of `classes` classes, and an adapter of it, in Python.
pub(super) fn python(class: &str, base: &str, classes: usize) -> String {
    format!(
        "from peft import PeftModel\nfrom transformers import {class}\n\
         model = {class}.from_pretrained({}, num_labels={classes}, ignore_mismatched_sizes=True)\n\
         model = PeftModel.from_pretrained(model, \"PATH OF THIS FOLDER\")",
        json!(base)
    )
}
