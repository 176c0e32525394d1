//! Which class of a head each class of a set is: one answer for training, evaluation, and those who look.
//!
//! A class is the head's of the same name. If the head has none of the names and all are whole numbers (folders `0`, `1`, …; IDX),
//! each is the class at that place of the head. Tensors are taken as they are: their labels are places from the start.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::some;
use crate::error::Error;

/// Labels as a source has them.
pub(super) enum Labels {
    /// None at all.
    None,
    /// By the names of classes, each of which is told by its place in the list.
    Named { names: Vec<String>, labels: Vec<Option<u32>> },
    /// By numbers, which are names too.
    Numbered(Vec<Option<u32>>),
    /// By the places of a head's classes.
    Places(Vec<Option<u32>>),
}

/// What the classes of a set are known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Their names.
    Names,
    /// Their places in the head.
    Places,
}

/// Whose classes numbers stand for where the head has names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The head's: of data to evaluate, and of data for an adapter that is there.
    Heads,
    /// The data's own, which may be the head's only if that has no names either.
    Own,
}

impl Naming {
    /// The place in `head` of each class of `data`.
    ///
    /// # Errors
    /// Which class has none there.
    pub(crate) fn places(self, data: &[String], head: &[String], whose: Whose) -> Result<Vec<u32>, String> {
        let as_they_are = self == Naming::Places && data.len() <= head.len();
        // Names may come twice in a list that is the head's own.
        if as_they_are || data == head {
            return Ok((0..data.len() as u32).collect());
        }
        let mut by_name = HashMap::new();
        for (place, name) in (0..).zip(head) {
            by_name.entry(name.as_str()).or_insert(place);
        }
        let found: Vec<Option<u32>> = match self {
            Naming::Names => data.iter().map(|name| by_name.get(name.as_str()).copied()).collect(),
            Naming::Places => vec![None; data.len()],
        };
        let Some(unknown) = found.iter().position(Option::is_none) else {
            return Ok(found.into_iter().flatten().collect());
        };
        let numbers = numbers(data).filter(|_| found.iter().all(Option::is_none));
        match numbers {
            Some(numbers) if whose == Whose::Heads || nameless(head) => by_number(numbers, head),
            _ => Err(format!("it has a class {:?}, which is none of {}: {}", data[unknown], head.len(), some(head))),
        }
    }
}

fn by_number(numbers: Vec<u32>, head: &[String]) -> Result<Vec<u32>, String> {
    match numbers.iter().max() {
        Some(&largest) if largest as usize >= head.len() => Err(format!(
            "its largest label is {largest}, and there are {} classes, numbered from 0: {}",
            head.len(),
            some(head)
        )),
        _ => Ok(numbers),
    }
}

/// Classes that are called by numbers, each by another.
fn numbers(names: &[String]) -> Option<Vec<u32>> {
    let number = |name: &String| name.parse().ok().filter(|_| name.bytes().all(|byte| byte.is_ascii_digit()));
    let numbers: Vec<u32> = names.iter().map(number).collect::<Option<_>>()?;
    let different: HashSet<_> = numbers.iter().collect();
    (different.len() == numbers.len()).then_some(numbers)
}

/// Whether classes are called as Transformers calls those without names.
fn nameless(head: &[String]) -> bool {
    head.iter().enumerate().all(|(number, name)| *name == format!("LABEL_{number}"))
}

/// Classes with their labels.
pub(super) struct Numbered {
    pub(super) classes: Vec<String>,
    pub(super) labels: Vec<Option<u32>>,
    pub(super) naming: Naming,
}

/// Labels of `count` pictures by the numbers of the set's own classes, or those of a `head`.
pub(super) fn numbered(path: &Path, labels: Labels, count: usize, head: Option<&[String]>) -> Result<Numbered, Error> {
    let wrong = |what: String| Error::Data { path: path.to_path_buf(), what };
    let (classes, labels, naming) = match labels {
        Labels::None => {
            let (classes, labels) = (head.unwrap_or_default().to_vec(), vec![None; count]);
            return Ok(Numbered { classes, labels, naming: Naming::Names });
        }
        Labels::Named { names, labels } => (names, labels, Naming::Names),
        Labels::Numbered(labels) => (named_by_number(&labels).map_err(wrong)?, labels, Naming::Names),
        Labels::Places(labels) => (named_by_number(&labels).map_err(wrong)?, labels, Naming::Places),
    };
    let Some(head) = head else { return Ok(Numbered { classes, labels, naming }) };
    let places = naming.places(&classes, head, Whose::Heads).map_err(wrong)?;
    let place = |label: Option<u32>| label.and_then(|label| places.get(label as usize).copied());
    Ok(Numbered { classes: head.to_vec(), labels: labels.into_iter().map(place).collect(), naming })
}

/// Most classes of labels that are but numbers.
const MOST_CLASSES: u32 = 1 << 20;

fn named_by_number(labels: &[Option<u32>]) -> Result<Vec<String>, String> {
    match labels.iter().flatten().max() {
        Some(&largest) if largest >= MOST_CLASSES => {
            Err(format!("its largest label is {largest}, and more than {MOST_CLASSES} classes are not believed"))
        }
        Some(&largest) => Ok((0..=largest).map(|class| class.to_string()).collect()),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn classes_are_found_by_name_or_by_number() {
        let labels = names(&["dog", "cat", "cow"]);
        let at = |data: &[&str], head: &[String], whose| Naming::Names.places(&names(data), head, whose).ok();
        for whose in [Whose::Heads, Whose::Own] {
            assert_eq!(at(&["cat", "dog"], &labels, whose), Some(vec![1, 0]));
            assert_eq!(at(&["cat", "hen"], &labels, whose), None);
            assert_eq!(at(&["0", "1", "2", "3"], &labels, whose), None);
            assert_eq!(at(&["0", "0"], &labels, whose), None);
            assert_eq!(at(&["+1"], &labels, whose), None);
            assert_eq!(at(&["0", "1"], &names(&["1", "0"]), whose), Some(vec![1, 0]));
            // Some of the numbers are names: then the others are no places.
            assert_eq!(at(&["0", "1"], &names(&["1", "dog"]), whose), None);
            assert_eq!(at(&["0", "1"], &names(&["LABEL_0", "LABEL_1"]), whose), Some(vec![0, 1]));
            assert_eq!(
                at(&["crane", "bird", "crane"], &names(&["crane", "bird", "crane"]), whose),
                Some(vec![0, 1, 2])
            );
        }
        assert_eq!(at(&["0", "02", "1"], &labels, Whose::Heads), Some(vec![0, 2, 1]));
        assert_eq!(at(&["0", "1", "2"], &labels, Whose::Own), None);
    }

    /// Folders of numbers are sorted by name, and there are eleven or more.
    #[test]
    fn numbers_are_not_places_in_a_sorted_list() {
        let mut folders: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        let counted = folders.clone();
        folders.sort();
        let head: Vec<String> = (0..12).map(|number| format!("LABEL_{number}")).collect();
        let want = Ok(vec![0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]);
        for whose in [Whose::Heads, Whose::Own] {
            assert_eq!(Naming::Names.places(&folders, &head, whose), want);
            assert_eq!(Naming::Names.places(&folders, &counted, whose), want);
            assert_eq!(Naming::Places.places(&counted[..3], &folders, whose), Ok(vec![0, 1, 2]));
        }
        let back = Naming::Names.places(&counted, &folders, Whose::Heads);
        assert_eq!(back, Ok(vec![0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]));
    }
}
