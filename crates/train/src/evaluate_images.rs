//! Evaluation of labelled images: loss, the likeliest class and the five likeliest, and which class is taken for which.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use loract_autograd::Memory;
use loract_models::vision::{ImageProcessor, View};
use loract_models::{Classifier, ImageBatch};

use crate::data::images::{ImageSet, Loader};
use crate::error::Error;
use crate::evaluation::ImageEvaluation;

/// Rows of the residual stream that run at once, about.
const BATCH_ROWS: usize = 2048;

/// Runs all images of `set`, a few at a time, and shows `see` which they are and their logits (images×classes). The next are decoded
/// meanwhile.
///
/// # Errors
/// Those of the pictures and of the model; those of `see`.
pub fn image_logits(
    model: &Classifier,
    memory: &Memory,
    set: &Arc<ImageSet>,
    processor: &ImageProcessor,
    mut see: impl FnMut(Range<usize>, &[f32]) -> Result<(), Error>,
) -> Result<(), Error> {
    let at_once = (BATCH_ROWS / model.config().tokens()).max(1);
    let parts = || (0..set.len()).step_by(at_once).map(|start| start..set.len().min(start + at_once));
    let mut loader = Loader::new(Arc::clone(set), processor.clone());
    for part in parts() {
        loader.request(part.clone().collect(), vec![View::Whole; part.len()]);
    }
    for part in parts() {
        let batch = ImageBatch::new(model.config(), loader.take()?, Vec::new())?;
        see(part, &model.logits(memory, &batch)?.to_vec())?;
    }
    Ok(())
}

/// Evaluates on all images of `set`, whose labels are numbered as the classes of the model are.
///
/// # Errors
/// [`Error::Data`] if an image has no label; those of [`image_logits`]; [`Error::Evaluation`] if the loss is not finite.
pub fn evaluate_images(
    model: &Classifier,
    memory: &Memory,
    set: &Arc<ImageSet>,
    processor: &ImageProcessor,
) -> Result<ImageEvaluation, Error> {
    let labels = set.all_labels()?;
    let mut scores = ImageScores::new(model.config().labels.clone());
    image_logits(model, memory, set, processor, |part, logits| {
        scores.add(&labels[part], logits);
        Ok(())
    })?;
    scores.finish(set)
}

/// An evaluation under way.
#[derive(Debug)]
pub struct ImageScores {
    classes: Vec<String>,
    nll: f64,
    right: usize,
    among_five: usize,
    /// How often a class, the first, was taken for another or for itself; pairs that did not come are not there.
    confusion: BTreeMap<(u32, u32), usize>,
}

/// How many of the likeliest classes count.
const FIVE: usize = 5;

impl ImageScores {
    /// Of a model that tells these classes apart.
    pub fn new(classes: Vec<String>) -> Self {
        Self { classes, nll: 0.0, right: 0, among_five: 0, confusion: BTreeMap::new() }
    }

    /// Adds images with their labels, which are classes, and logits (images×classes).
    pub fn add(&mut self, labels: &[u32], logits: &[f32]) {
        for (&class, logits) in labels.iter().zip(logits.chunks_exact(self.classes.len())) {
            let label = class as usize;
            let own = logits[label];
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|&x| (f64::from(x) - f64::from(most)).exp()).sum();
            self.nll += sum.ln() + f64::from(most) - f64::from(own);
            // Of equal logits the first comes first.
            let taken = logits.iter().position(|&x| x == most).unwrap_or(0);
            let before = logits.iter().enumerate().filter(|&(i, &x)| x > own || (x == own && i < label)).count();
            self.right += usize::from(before == 0);
            self.among_five += usize::from(before < FIVE);
            *self.confusion.entry((class, taken as u32)).or_default() += 1;
        }
    }

    /// What it came to, on the images of `set`.
    ///
    /// # Errors
    /// [`Error::Evaluation`] if the loss is not finite.
    pub fn finish(self, set: &ImageSet) -> Result<ImageEvaluation, Error> {
        let rows: usize = self.confusion.values().sum();
        let share = |count: usize| count as f64 / rows.max(1) as f64;
        let loss = self.nll / rows.max(1) as f64;
        if !loss.is_finite() {
            return Err(Error::Evaluation { path: set.path().to_path_buf(), value: loss });
        }
        Ok(ImageEvaluation {
            loss,
            rows,
            accuracy: share(self.right),
            top5_accuracy: share(self.among_five),
            confusion: square(&self.confusion, self.classes.len()),
            classes: self.classes,
        })
    }
}

/// Counts of pairs of so many classes by row and column, unless that is too much to write down.
fn square(pairs: &BTreeMap<(u32, u32), usize>, classes: usize) -> Option<Vec<Vec<usize>>> {
    let mut square = (classes <= ImageEvaluation::MOST_CONFUSED).then(|| vec![vec![0; classes]; classes])?;
    for (&(class, taken), &count) in pairs {
        square[class as usize][taken as usize] = count;
    }
    Some(square)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_losses_are_those_of_softmax() {
        let mut scores = ImageScores::new((0..6).map(|class| class.to_string()).collect());
        let logits = [[0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0; 6], [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]];
        // Last of six by its logit; first of equals; second.
        scores.add(&[0, 0, 1], logits.as_flattened());
        assert_eq!((scores.right, scores.among_five), (1, 2));
        let counts = square(&scores.confusion, 6).unwrap_or_default();
        assert_eq!((counts[0][5], counts[0][0], counts[1][0]), (1, 1, 1));
        let all: f64 = (0..6).map(|x| f64::from(x).exp()).sum();
        let want = all.ln() + 6f64.ln() + (all.ln() - 4.0);
        assert!((scores.nll - want).abs() < 1e-9, "{} {want}", scores.nll);
    }

    /// A square of so many classes would take terabytes.
    #[test]
    fn many_classes_cost_what_is_seen_of_them() {
        let classes = 1 << 20;
        let mut scores = ImageScores::new(vec![String::new(); classes]);
        scores.add(&[7], &vec![0.0; classes]);
        assert_eq!(scores.confusion, BTreeMap::from([((7, 0), 1)]));
        assert_eq!(square(&scores.confusion, classes), None);
        assert!(square(&BTreeMap::new(), ImageEvaluation::MOST_CONFUSED).is_some());
    }
}
