//! Ctrl-C and SIGTERM: the step ends, a checkpoint is left, and the way to go on is told.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Anyhow, Outcome, Place, train};
use crate::resume::{assert_same_end, checkpoints};

const MOMENT: Duration = Duration::from_millis(5);

/// Waits until the log of the run under way has so many lines.
pub fn wait_for_lines(place: &Place, out: &str, lines: usize) -> Anyhow {
    let log = format!("{out}/metrics.jsonl.partial");
    let begun = Instant::now();
    while !place.path(&log).exists() || place.text(&log)?.lines().count() < lines {
        assert!(begun.elapsed() < Duration::from_secs(60), "{out} does not begin");
        sleep(MOMENT);
    }
    Ok(())
}

pub fn send(signal: &str, child: &Child) -> Anyhow {
    let status = Command::new("sh").args(["-c", &format!("kill {signal} {}", child.id())]).status()?;
    if status.success() { Ok(()) } else { Err(format!("kill {signal}: {status}").into()) }
}

#[test]
fn a_signal_leaves_a_checkpoint_and_the_command_to_go_on() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let flags = "--steps 300 --lr 1e-2 --schedule cosine --lora-dropout 0.1";
    place.trained(&format!("{flags} --out whole"))?;
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let out = format!("out{signal}");
        let words = train(&format!("{flags} --out {out}"));
        let child = place.start(&words)?;
        wait_for_lines(&place, &out, 3)?;
        send(signal, &child)?;
        let outcome = Outcome::of(&words, child.wait_with_output()?)?;
        assert_eq!(outcome.code, Some(code), "{}", outcome.told());
        assert_eq!(outcome.stdout, "", "{}", outcome.told());
        let [step] = checkpoints(&place, &out)?[..] else { return Err(outcome.told().into()) };
        assert!(step >= 3);
        for said in
            [&format!("{out}/checkpoint-{step}"), &format!("after step {step} of 300"), &format!("{words} --resume")]
        {
            assert!(outcome.stderr.contains(said.as_str()), "{said}: {}", outcome.told());
        }
        // As told.
        let told =
            outcome.stderr.lines().find(|line| line.ends_with("--resume")).and_then(|line| line.split_once("train "));
        let told = told.ok_or("no command")?;
        let again = place.run(&format!("train {}", told.1))?;
        assert_eq!(again.code, Some(0), "{}", again.told());
        assert_same_end(&place, "whole", &out)?;
    }
    Ok(())
}

#[test]
fn a_second_signal_ends_at_once() -> Anyhow {
    let place = Place::with("llama-tied")?;
    // One step of half a minute.
    let words = train("--steps 1 --grad-accum 20000");
    for _ in 0..20 {
        let mut child = place.start(&words)?;
        wait_for_lines(&place, "out", 0)?;
        sleep(20 * MOMENT);
        send("-INT", &child)?;
        let stderr = BufReader::new(child.stderr.take().ok_or("no stderr")?);
        let mut told = stderr.lines().filter(|line| line.as_ref().is_ok_and(|line| line.contains("stops after this")));
        let Some(answer) = told.next().transpose()? else {
            // The signal came before the step began, and ended the run at once.
            assert_eq!(child.wait()?.code(), Some(130));
            continue;
        };
        assert!(answer.starts_with("Ctrl-C: ") && answer.ends_with("once more to end at once"), "{answer}");
        let begun = Instant::now();
        send("-INT", &child)?;
        assert_eq!(child.wait()?.code(), Some(130));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert!(checkpoints(&place, "out")?.is_empty());
        return Ok(());
    }
    Err("the step never began".into())
}
