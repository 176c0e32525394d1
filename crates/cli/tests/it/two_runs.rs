//! Two runs with one `--out` at the same time: the second is refused by name, the first is not disturbed, and a killed one
//! is in nobody's way.

use crate::harness::{Anyhow, Outcome, Place, train};
use crate::resume::{assert_same_end, checkpoints};
use crate::signals::{send, wait_for_lines};

const REFUSED: [&str; 2] = ["out is in use by a run that is under way", "another --out"];

#[test]
fn the_second_is_refused_by_name_and_a_killed_one_is_no_hindrance() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let flags = "--steps 60 --save-every 1 --lr 1e-2";
    place.trained(&format!("{flags} --out whole"))?;
    let mut first = place.start(&train(flags))?;
    wait_for_lines(&place, "out", 4)?;
    // Held still, so that it is under way while the second one tries.
    send("-STOP", &first)?;
    let held = place.files("out")?;
    let second = place.train(&format!("{flags} --resume"))?;
    let untouched = place.files("out")? == held;
    send("-KILL", &first)?;
    first.wait()?;
    assert_eq!(second.complaint(2, &REFUSED), None);
    assert!(untouched, "the second run wrote");
    assert!(checkpoints(&place, "out")?.last().is_some_and(|step| *step < 60));
    place.trained(&format!("{flags} --resume"))?;
    assert_same_end(&place, "whole", "out")
}

#[test]
fn of_two_new_runs_one_is_refused_and_the_other_ends_as_if_alone() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let flags = "--steps 60 --lr 1e-2";
    place.trained(&format!("{flags} --out whole"))?;
    let words = train(flags);
    let first = place.start(&words)?;
    wait_for_lines(&place, "out", 2)?;
    send("-STOP", &first)?;
    let second = place.train(flags)?;
    send("-CONT", &first)?;
    let first = Outcome::of(&words, first.wait_with_output()?)?;
    assert_eq!(second.complaint(2, &REFUSED), None);
    assert_eq!(first.code, Some(0), "{}", first.told());
    assert_same_end(&place, "whole", "out")
}
