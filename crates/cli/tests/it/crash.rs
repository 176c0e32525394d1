//! Killed at any moment, between writes and within them, a run goes on and ends as if nothing had happened.

use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use loract_autograd::Rng;

use crate::harness::{Anyhow, Outcome, Place, train};
use crate::resume::{assert_same_end, checkpoints};

/// All that has state: shuffled rows, accumulation, dropout, a schedule, held ranks and bases, the best evaluation.
const RUN: &str = "--steps 16 --save-every 1 --batch-size 4 --grad-accum 2 --lr 1e-2 --schedule cosine --warmup 3 \
     --lora-dropout 0.1 --activations loract --rank auto@0.3 --warm-start refresh --eval-data rows.jsonl --eval-every 5";

const KILLS: usize = 30;
const SIGKILL: i32 = 9;

#[test]
fn thirty_kills_at_random_points_and_the_same_bits_at_the_end() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let begun = Instant::now();
    place.trained(&format!("{RUN} --out whole"))?;
    let whole = begun.elapsed();
    let record = place.json("whole/checkpoint-15/checkpoint.json")?;
    let remembered = record["remembered"].as_array().ok_or("nothing remembered")?;
    assert!(remembered.iter().any(|r| r["basis"].is_object()) && remembered.iter().any(|r| r["rank"].is_u64()));

    let mut rng = Rng::new(&[6, 0xdead]);
    let (mut kills, mut within_writes, mut runs) = (0, 0, 0);
    while kills < KILLS {
        // A run is killed until it gets to its end before its time.
        let out = format!("out{runs}");
        loop {
            runs += 1;
            assert!(runs < 20 * KILLS, "{kills} of {runs} runs were there to be killed");
            let resume = if checkpoints(&place, &out)?.is_empty() { "" } else { "--resume" };
            let words = train(&format!("{RUN} --out {out} {resume}"));
            let mut child = place.start(&words)?;
            sleep(whole.mul_f32(rng.uniform()).max(Duration::from_millis(1)));
            let running = child.try_wait()?.is_none();
            child.kill()?;
            let output = child.wait_with_output()?;
            if output.status.signal() == Some(SIGKILL) {
                assert!(running);
                kills += 1;
                let half = |name: &String| name.starts_with("checkpoint-") && name.contains(".partial/");
                within_writes += usize::from(place.path(&out).exists() && place.files(&out)?.keys().any(half));
                continue;
            }
            let outcome = Outcome::of(&words, output)?;
            assert_eq!(outcome.code, Some(0), "{}", outcome.told());
            break;
        }
        assert_same_end(&place, "whole", &out)?;
    }
    eprintln!(
        "{kills} kills in {runs} runs, {within_writes} within the writing of a checkpoint; a run takes {whole:?}"
    );
    Ok(())
}
