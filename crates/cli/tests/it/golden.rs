//! Numbers of PyTorch, Transformers and PEFT, through the command line.

use loract_testkit::golden::{DECODERS, STEPPED};

use crate::damage::Tensors;
use crate::harness::{Anyhow, Place, golden};

/// f32 on both sides, in another order of sums, over ten steps.
const TOLERANCE: f64 = 1e-4;
/// The optimiser of `make_golden.py`.
const AS_GOLDEN: &str =
    "--adapter adapter --no-shuffle --batch-size 2 --lr 1e-2 --weight-decay 0.01 --max-grad-norm 1 --steps 10";

#[test]
fn ten_steps_are_those_of_peft() -> Anyhow {
    for case in STEPPED {
        let place = Place::with(case)?;
        place.trained(AS_GOLDEN)?;
        let want: serde_json::Value = serde_json::from_slice(&std::fs::read(golden(case).join("golden.json"))?)?;
        let lines = place.lines("out/metrics.jsonl")?;
        assert_eq!(lines.len(), 10);
        for (step, line) in lines.iter().enumerate() {
            for (key, wanted) in [("loss", "step_losses"), ("grad_norm", "grad_norms")] {
                let (got, want) = (line[key].as_f64().ok_or(key)?, want[wanted][step].as_f64().ok_or(wanted)?);
                assert!((got - want).abs() <= TOLERANCE * want, "{case} step {} {key}: {got} {want}", step + 1);
            }
        }
        // The adapter that comes out is the one PEFT gets.
        let got = Tensors::read(&place.adapter("out")?)?;
        let want = Tensors::read(&std::fs::read(golden(case).join("golden.safetensors"))?)?;
        for name in got.names() {
            let error = relative(&got.numbers(name)?, &want.numbers(&format!("steps.{name}"))?);
            assert!(error <= TOLERANCE, "{case} {name}: {error}");
        }
        let given = Tensors::read(&place.adapter("adapter")?)?;
        assert_eq!(got.names(), given.names(), "{case}");
    }
    Ok(())
}

#[test]
fn eval_prints_one_object_with_the_golden_loss() -> Anyhow {
    for case in DECODERS {
        let place = Place::with(case)?;
        let got = place.eval("--model model --adapter adapter --data rows.jsonl")?;
        let want: serde_json::Value = serde_json::from_slice(&std::fs::read(golden(case).join("golden.json"))?)?;
        let (loss, wanted) = (got["loss"].as_f64().ok_or("loss")?, want["file_loss"].as_f64().ok_or("file_loss")?);
        assert!((loss - wanted).abs() <= TOLERANCE * wanted, "{case}: {loss} {wanted}");
        assert_eq!(got["tokens"], want["file_tokens"], "{case}");
        let perplexity = got["perplexity"].as_f64().ok_or("perplexity")?;
        assert!((perplexity - loss.exp()).abs() <= 1e-12 * perplexity, "{case}: {perplexity} {}", loss.exp());
        let base = place.eval("--model model --data rows.jsonl")?;
        assert_ne!(base["loss"], got["loss"], "{case}");
    }
    Ok(())
}

#[test]
fn a_gguf_file_is_the_same_model() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.write("llama.gguf", std::fs::read(golden("gguf").join("llama.gguf"))?)?;
    let [folder, gguf] = ["model", "llama.gguf"].map(|model| place.eval(&format!("--model {model} --data rows.jsonl")));
    assert_eq!(folder?, gguf?);
    place.trained("--out a")?;
    place.trained("--out b --model llama.gguf")?;
    assert_eq!(place.adapter("a")?, place.adapter("b")?);
    Ok(())
}

#[test]
fn a_trained_adapter_evaluates_as_the_run_said() -> Anyhow {
    let place = Place::with("llama-untied")?;
    place.trained("--eval-data rows.jsonl --lr 1e-2 --steps 4")?;
    let said = place.json("out/report.json")?["evaluation"].clone();
    let got = place.eval("--model model --adapter out --data rows.jsonl")?;
    assert_eq!(got["tokens"], said["tokens"]);
    assert_eq!(got["loss"], said["loss"]);
    let before = place.eval("--model model --data rows.jsonl")?;
    assert!(got["loss"].as_f64() < before["loss"].as_f64(), "training lowered the loss: {before} {got}");
    Ok(())
}

/// ‖got − want‖ / ‖want‖.
pub fn relative(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let apart = norm(&mut got.iter().zip(want).map(|(&g, &w)| f64::from(g) - f64::from(w)));
    apart / norm(&mut want.iter().map(|&w| f64::from(w)))
}
