//! Classes by number: as a set has them, or as a model does.

use std::path::Path;

use super::some;
use crate::error::Error;

/// Labels as a source has them.
pub(super) enum Labels {
    /// None at all.
    None,
    /// By the names of classes, each of which is told by its place in the list.
    Named { names: Vec<String>, labels: Vec<Option<u32>> },
    /// By numbers alone.
    Numbered(Vec<Option<u32>>),
}

/// Names of the classes, and labels by their numbers there.
pub(super) fn numbered(
    path: &Path,
    labels: Labels,
    count: usize,
    classes: Option<&[String]>,
) -> Result<(Vec<String>, Vec<Option<u32>>), Error> {
    let wrong = |what: String| Error::Data { path: path.to_path_buf(), what };
    match (labels, classes) {
        (Labels::None, classes) => Ok((classes.unwrap_or_default().to_vec(), vec![None; count])),
        (Labels::Named { names, labels }, None) => Ok((names, labels)),
        (Labels::Named { names, labels }, Some(classes)) => {
            let number = |name: &String| {
                let at = classes.iter().position(|class| class == name);
                let at = at.and_then(|at| u32::try_from(at).ok());
                at.ok_or_else(|| {
                    wrong(format!("it has a class {name:?}, which is none of {}: {}", classes.len(), some(classes)))
                })
            };
            let numbers = names.iter().map(number).collect::<Result<Vec<u32>, _>>()?;
            let labels = labels.into_iter().map(|label| label.and_then(|label| numbers.get(label as usize).copied()));
            Ok((classes.to_vec(), labels.collect()))
        }
        (Labels::Numbered(labels), classes) => {
            let largest = labels.iter().flatten().max().copied();
            match (classes, largest) {
                (Some(classes), Some(largest)) if largest as usize >= classes.len() => Err(wrong(format!(
                    "its largest label is {largest}, and there are {} classes, numbered from 0: {}",
                    classes.len(),
                    some(classes)
                ))),
                (Some(classes), _) => Ok((classes.to_vec(), labels)),
                (None, Some(largest)) if largest >= MOST_CLASSES => Err(wrong(format!(
                    "its largest label is {largest}, and more than {MOST_CLASSES} classes are not believed"
                ))),
                (None, largest) => {
                    let names = largest.map(|largest| (0..=largest).map(|class| class.to_string()).collect());
                    Ok((names.unwrap_or_default(), labels))
                }
            }
        }
    }
}

/// Most classes of labels that are but numbers.
const MOST_CLASSES: u32 = 1 << 20;
