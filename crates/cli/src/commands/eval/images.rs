//! `loract eval` of an image model: loss, accuracies and confusion of labelled pictures, and logits of any.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use loract_autograd::Memory;
use loract_models::VisionSource;
use loract_models::weights::store::{self, Numbers, StoredAs, ToStore};
use loract_train::data::Split;
use loract_train::data::images::ImageSet;
use loract_train::{Error, ImageEvaluation, ImageScores, image_logits, open_classifier, write_whole, write_whole_by};
use serde_json::json;

use super::refuse;
use crate::args::{EvalArgs, picture_file};
use crate::output;
use crate::plot::Map;

/// Evaluates the model in the folder `model`.
pub fn run(args: &EvalArgs, model: &Path) -> Result<()> {
    let given = [
        ("seq-len", args.seq_len.is_some()),
        ("chat-template", args.rows.chat_template.is_some()),
        ("chat-date", args.rows.chat_date.is_some()),
        ("train-on", args.rows.train_on.is_some()),
    ];
    refuse(&given, "belongs to text, and this is an image model; leave it out")?;
    for (key, path) in [("confusion", &args.confusion), ("logits", &args.logits)] {
        path.as_ref().map_or(Ok(()), |path| check_output(key, path))?;
    }
    let settings = args.images.clone().resolve()?;
    let memory = Memory::new();
    let source = VisionSource::open(model)?;
    let source = match settings.image_size {
        Some(size) => source.with_image_size(size)?,
        None => source.as_adapted(args.adapter.as_deref())?,
    };
    let processor = source.processor.clone();
    let data = picture_file(&args.data, &[Split::Test, Split::Valid])?;
    let (classifier, _) = open_classifier(&memory, source, args.adapter.as_deref())?;
    let classes = classifier.config().labels.clone();
    let set = Arc::new(ImageSet::open(&data, &settings.options(Some(classes.clone())))?);
    set.fits(&processor)?;
    set.notes().iter().for_each(|note| output::message(note));
    // Logits need no labels; what is labelled in part is a mistake.
    let none = set.labels().iter().all(Option::is_none);
    let labels = if none && args.logits.is_some() { None } else { Some(set.all_labels()?) };
    if args.confusion.is_some() {
        check_confusion(labels.is_some(), classes.len())?;
    }
    let mut scores = labels.as_ref().map(|_| ImageScores::new(classes.clone()));
    let mut kept: Vec<f32> = Vec::new();
    image_logits(&classifier, &memory, &set, &processor, |part, logits| {
        if let Some((labels, scores)) = labels.as_ref().zip(scores.as_mut()) {
            scores.add(&labels[part], logits);
        }
        if args.logits.is_some() {
            kept.extend_from_slice(logits);
        }
        Ok(())
    })?;
    // What was found is told before anything can go wrong with a file.
    let found = scores.map(|scores| scores.finish(&set)).transpose()?;
    match &found {
        Some(found) => tell(found, args.json)?,
        None => output::line(&match args.json {
            true => json!({ "rows": set.len(), "classes": classes }).to_string(),
            false => format!("images          {} without labels", set.len()),
        })?,
    }
    if let Some(path) = &args.logits {
        write_logits(path, [set.len(), classes.len()], &kept)?;
        output::message(&format!("logits of {} images are in {}", set.len(), path.display()));
    }
    if let (Some(path), Some(map)) = (&args.confusion, found.and_then(map)) {
        write_whole(path, map.to_svg()?.as_bytes())?;
        output::message(&format!("which class is taken for which is in {}", path.display()));
    }
    Ok(())
}

/// That a file can be made there, before there is anything to write.
fn check_output(key: &'static str, path: &Path) -> Result<(), Error> {
    let wrong = |what: String| Err(Error::Setting { key, what });
    if path.is_dir() {
        return wrong(format!("{} is a folder; give the name of a file", path.display()));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            wrong(format!("there is no folder {}; make it, or give another file", folder.display()))
        }
        _ => Ok(()),
    }
}

/// That there will be something to draw.
fn check_confusion(labelled: bool, classes: usize) -> Result<(), Error> {
    let most = ImageEvaluation::MOST_CONFUSED;
    let what = match labelled {
        false => {
            "the pictures have no labels; leave it out, or put the pictures of each class into a folder".to_owned()
        }
        true if classes > most => format!("{classes} classes are too many to draw; the most is {most}; leave it out"),
        true => return Ok(()),
    };
    Err(Error::Setting { key: "confusion", what })
}

fn tell(found: &ImageEvaluation, as_json: bool) -> Result<()> {
    if as_json {
        output::line(&serde_json::to_string(found)?)?;
        return Ok(());
    }
    output::line(&format!("loss            {:.6}", found.loss))?;
    output::line(&format!("accuracy        {:.4}", found.accuracy))?;
    output::line(&format!("top-5 accuracy  {:.4}", found.top5_accuracy))?;
    output::line(&format!("images          {}", found.rows))?;
    output::line(&format!("classes         {}", found.classes.len()))?;
    Ok(())
}

fn write_logits(path: &Path, shape: [usize; 2], logits: &[f32]) -> Result<(), loract_train::Error> {
    let tensor = ToStore { shape: shape.into(), numbers: Numbers::Floats(logits), stored: StoredAs::F32 };
    write_whole_by(path, |path| store::write(path, &[("logits".to_owned(), tensor)]))
}

/// The picture of an evaluation, if it has what is drawn.
fn map(found: ImageEvaluation) -> Option<Map> {
    Some(Map {
        title: format!("{} images, accuracy {:.4}", found.rows, found.accuracy),
        rows: "class".into(),
        columns: "taken for".into(),
        names: found.classes,
        counts: found.confusion?,
    })
}
