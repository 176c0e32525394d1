//! Checkpoints on disk: how many are kept, the best one, damage, a full disk, and things in the way.

use serde_json::json;

use crate::harness::{Anyhow, Place, changed};
use crate::resume::{assert_same_end, checkpoints};

pub const FLAGS: &str = "--steps 6 --save-every 2 --lr 1e-2";

/// A finished run in `whole`; `out` as it was after step 4.
pub fn interrupted() -> Anyhow<Place> {
    let place = Place::with("llama-tied")?;
    place.trained(&format!("{FLAGS} --out whole"))?;
    for step in [2, 4] {
        place.copy(&format!("whole/checkpoint-{step}"), &format!("out/checkpoint-{step}"))?;
    }
    Ok(place)
}

#[test]
fn the_last_ones_and_the_best_one_are_kept() -> Anyhow {
    let place = Place::with("llama-tied")?;
    // Too high a learning rate: evaluation gets worse sooner or later.
    let flags = "--lr 0.5 --max-grad-norm 0 --weight-decay 0";
    let watched = format!("{flags} --steps 40 --save-every 1 --eval-data rows.jsonl --eval-every 1 --early-stop 3");
    let outcome = place.trained(&format!("{watched} --keep-checkpoints 3"))?;
    let losses: Vec<f64> =
        place.lines("out/metrics.jsonl")?.iter().filter_map(|l| l.get("eval_loss")?.as_f64()).collect();
    let best = (0..losses.len()).fold(0, |b, i| if losses[i] < losses[b] { i } else { b });
    let report = place.json("out/report.json")?;
    assert_eq!(report["best"], json!({ "step": best + 1, "loss": losses[best] }));
    assert_eq!((&report["stopped_early"], &report["steps"]), (&true.into(), &losses.len().into()));
    // Three in turn were no better.
    assert_eq!(losses.len(), best + 4, "{losses:?}");
    assert!(losses.len() < 40 && outcome.stderr.contains("3 evaluations in turn"), "{}", outcome.told());
    let last = losses.len() as u64;
    assert_eq!(checkpoints(&place, "out")?, [last - 3, last - 2, last - 1]);
    let found = place.eval("--model model --adapter out/best --data rows.jsonl")?;
    assert_eq!(found["loss"], losses[best]);
    assert_ne!(place.adapter("out/best")?, place.adapter("out")?);
    // Patience and the best go through a checkpoint, in which the best is already another step's.
    place.copy(&format!("out/checkpoint-{}", last - 1), &format!("again/checkpoint-{}", last - 1))?;
    place.trained(&format!("{watched} --keep-checkpoints 3 --out again --resume"))?;
    assert_same_end(&place, "out", "again")
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() -> Anyhow {
    let place = interrupted()?;
    let good = place.files("out")?;
    let names: Vec<String> = good.keys().filter_map(|n| Some(n.strip_prefix("checkpoint-4/")?.to_owned())).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    for name in names {
        let file = format!("out/checkpoint-4/{name}");
        let bytes = place.read(&file)?;
        for damage in ["cut", "flip", "gone"] {
            std::fs::remove_dir_all(place.path("out"))?;
            good.iter().try_for_each(|(name, bytes)| place.write(&format!("out/{name}"), bytes))?;
            match damage {
                "cut" => place.write(&file, &bytes[..bytes.len() / 2])?,
                "gone" => std::fs::remove_file(place.path(&file))?,
                _ => {
                    let mut bytes = bytes.clone();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 16;
                    place.write(&file, bytes)?;
                }
            }
            let outcome = place.trained(&format!("{FLAGS} --resume"))?;
            let warned = outcome.stderr.lines().find(|line| line.starts_with("warning: a damaged checkpoint"));
            // Damaged checksums may accuse the file of which they are.
            let named = if name == "checksums.txt" { "out/checkpoint-4/" } else { &file };
            assert!(warned.is_some_and(|line| line.contains(named)), "{damage} {name}: {}", outcome.told());
            assert!(outcome.stderr.contains("goes on from out/checkpoint-2"), "{}", outcome.told());
            assert_same_end(&place, "whole", "out")?;
            assert_eq!(checkpoints(&place, "out")?, [2, 4]);
        }
    }
    for step in [2, 4] {
        place.write(&format!("out/checkpoint-{step}/optimizer.safetensors"), "")?;
    }
    let outcome = place.train(&format!("{FLAGS} --resume"))?;
    let says = ["every checkpoint in out is damaged", "checkpoint-4/optimizer", "checkpoint-2/optimizer", "0 bytes"];
    assert_eq!(outcome.complaint(2, &says), None);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_what_was_there() -> Anyhow {
    let place = interrupted()?;
    let before = place.files("out")?;
    let bytes = |name: &str| before.get(&format!("checkpoint-4/{name}")).map_or(0, Vec::len);
    // Room for the adapter, not for the optimiser's state; in blocks of 512 bytes.
    let blocks = (bytes("adapter_model.safetensors") + bytes("optimizer.safetensors")) / 2 / 512;
    let words = crate::harness::train("--steps 6 --save-every 1 --lr 1e-2 --resume");
    let outcome = place.run_after(&format!("trap '' XFSZ; ulimit -f {blocks}"), &words)?;
    let says =
        ["cannot write out/checkpoint-5.partial/optimizer.safetensors", "untouched", "make room there", "--resume"];
    assert_eq!(outcome.complaint(1, &says), None);
    assert_eq!(changed(&before, &place.files("out")?, 1), None);
    place.trained(&format!("{FLAGS} --resume"))?;
    assert_same_end(&place, "whole", "out")
}

#[test]
fn a_file_in_the_way_is_named_and_nothing_is_lost() -> Anyhow {
    for name in ["checkpoint-5.partial", "best.partial", "metrics.jsonl.partial/x"] {
        let place = interrupted()?;
        place.write(&format!("out/{name}"), "mine")?;
        let before = place.files("out")?;
        let outcome = place.train("--steps 6 --save-every 1 --lr 1e-2 --resume")?;
        let named = name.trim_end_matches("/x");
        assert_eq!(outcome.complaint(1, &[&format!("cannot write out/{named}"), "untouched"]), None);
        assert_eq!(changed(&before, &place.files("out")?, 1), None, "{name}");
    }
    Ok(())
}

#[test]
fn what_killed_runs_left_is_swept() -> Anyhow {
    let place = interrupted()?;
    place.write("out/checkpoint-3.partial/adapter_model.safetensors", "half")?;
    place.write("out/checkpoint-6.partial/deep/x", "half")?;
    place.write("out/report.json.partial", "half")?;
    place.write("out/checkpoint-notes.partial/mine", "mine")?;
    place.trained(&format!("{FLAGS} --resume"))?;
    assert_eq!(place.text("out/checkpoint-notes.partial/mine")?, "mine");
    std::fs::remove_dir_all(place.path("out/checkpoint-notes.partial"))?;
    assert_same_end(&place, "whole", "out")
}
