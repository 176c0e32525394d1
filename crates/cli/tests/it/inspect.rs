//! `loract inspect activations`: the matrices are those of the model, and what is told of them is what a naive
//! computation on the saved matrices finds.

use std::collections::BTreeMap;
use std::ops::Range;

use loract_testkit::oracle::{self, Heads};
use serde_json::Value;

use crate::damage::{Tensors, WEIGHTS};
use crate::harness::{Anyhow, Place};

const SEEN: &str = "inspect activations --threads 1 --model model --data rows.jsonl";
/// C, F, H·D and H_kv·D of the golden model.
const WIDTH: usize = 32;
const FEED_FORWARD: usize = 48;
const KV: usize = 16;

/// Singular values of a (rows×cols), descending, by one-sided Jacobi rotations of the shorter side's vectors.
fn singular_values(a: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    let by_column = oracle::transpose(a, cols);
    let (mut vectors, len) = if rows >= cols { (by_column, rows) } else { (a.to_vec(), cols) };
    let count = vectors.len() / len;
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    for _ in 0..60 {
        for p in 0..count {
            for q in p + 1..count {
                let (x, y) = (&vectors[p * len..(p + 1) * len], &vectors[q * len..(q + 1) * len]);
                let (xx, yy, xy) = (dot(x, x), dot(y, y), dot(x, y));
                if xy == 0.0 {
                    continue;
                }
                let slope = (yy - xx) / (2.0 * xy);
                let t = slope.signum() / (slope.abs() + slope.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                for i in 0..len {
                    let (x, y) = (vectors[p * len + i], vectors[q * len + i]);
                    vectors[p * len + i] = c * (x - t * y);
                    vectors[q * len + i] = c * (t * x + y);
                }
            }
        }
    }
    let mut values: Vec<f64> = vectors.chunks_exact(len).map(|v| dot(v, v).sqrt()).collect();
    values.sort_by(|x, y| y.total_cmp(x));
    values
}

/// Everything that one run over all layers told, with its matrices in f64.
fn run(place: &Place, flags: &str) -> Anyhow<(Value, BTreeMap<String, Vec<f64>>)> {
    let outcome = place.run(&format!("{SEEN} --layers all --out seen --save seen.safetensors {flags}"))?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.told());
    let tensors = Tensors::read(&place.read("seen.safetensors")?)?;
    let matrix = |name: &str| -> Anyhow<(String, Vec<f64>)> {
        Ok((name.to_owned(), tensors.numbers(name)?.into_iter().map(f64::from).collect()))
    };
    let matrices = tensors.names().into_iter().map(matrix).collect::<Anyhow<_>>()?;
    Ok((place.json("seen/activations.json")?, matrices))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().map(|all| all.iter().filter_map(Value::as_f64).collect()).unwrap_or_default()
}

#[test]
fn what_is_told_of_each_matrix_is_what_a_naive_computation_finds() -> Anyhow {
    let place = Place::with("llama-tied")?;
    // More tokens than features at every site, and fewer.
    for rows in [12, 1] {
        let (told, matrices) = run(&place, &format!("--energy 50,99 --rows {rows}"))?;
        let all = told["activations"].as_array().ok_or("activations")?;
        // Layer 0 saves its projections' input in place of its first norm's; then the final norm.
        assert_eq!((all.len(), matrices.len()), (19, 19), "{:?}", matrices.keys());
        for facts in all {
            let site = facts["site"].as_str().ok_or("site")?;
            let name = facts["layer"].as_u64().map_or_else(|| site.to_owned(), |layer| format!("layer{layer}.{site}"));
            let a = matrices.get(&name).ok_or_else(|| format!("{name} was not saved"))?;
            let [m, n] = ["m", "n"].map(|key| facts[key].as_u64().unwrap_or(0) as usize);
            assert_eq!((m * n, told["tokens"].as_u64()), (a.len(), Some(m as u64)), "{name}");
            let sigma = singular_values(a, m, n);
            let got = numbers(&facts["singular_values"]);
            assert_eq!(got.len(), m.min(n), "{name}");
            for (got, want) in got.iter().zip(&sigma) {
                // What the Gram matrix in f64 resolves.
                let resolved = (n as f64 * f64::EPSILON).sqrt() * sigma[0];
                assert!((got - want).abs() <= resolved, "{name}: {got} against {want}");
            }
            let energy = |s: &[f64]| s.iter().map(|x| x * x).sum::<f64>();
            for (held, share) in facts["rank_for_energy"].as_array().ok_or("ranks")?.iter().zip([0.5, 0.99]) {
                let want = (0..).find(|&k| energy(&sigma[..k]) >= share * energy(&sigma)).unwrap_or(usize::MAX);
                assert_eq!(held["rank"], want, "{name} {share}");
                assert_eq!(held["share"], want as f64 / n as f64, "{name} {share}");
            }
            for (best, rank) in facts["best_error"].as_array().ok_or("errors")?.iter().zip([n / 8, n / 16]) {
                let want = (energy(&sigma[rank.min(sigma.len())..]) / energy(&sigma)).sqrt();
                let got = best["relative_error"].as_f64().unwrap_or(f64::NAN);
                assert!(best["rank"] == rank && (got - want).abs() < 1e-6, "{name}: {got} against {want}");
            }
            let mut norms: Vec<f64> = oracle::transpose(a, n).chunks_exact(m).map(|c| energy(c).sqrt()).collect();
            norms.sort_by(f64::total_cmp);
            let want = norms[n - 1] / ((norms[n / 2] + norms[n / 2 - 1]) / 2.0);
            let got = facts["outlier_ratio"].as_f64().unwrap_or(f64::NAN);
            assert!((got / want - 1.0).abs() < 1e-6, "{name}: {got} against {want}");
        }
    }
    Ok(())
}

/// Each matrix follows from the one before by the model's own weights: so every one is where its name says.
#[test]
fn the_matrices_are_those_of_the_model() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let (told, matrices) = run(&place, "--rows 5")?;
    let weights = Tensors::read(&place.read(WEIGHTS)?)?;
    let weight = |layer: usize, name: &str| -> Anyhow<Vec<f64>> {
        let numbers = weights.numbers(&format!("model.layers.{layer}.{name}.weight"))?;
        Ok(numbers.into_iter().map(f64::from).collect())
    };
    let mut sequences: Vec<Range<usize>> = Vec::new();
    for row in &place.lines("rows.jsonl")?[..5] {
        let start = sequences.last().map_or(0, |last| last.end);
        sequences.push(start..start + row["input_ids"].as_array().ok_or("ids")?.len());
    }
    assert_eq!(told["tokens"], sequences[4].end);
    let heads = Heads::plain(4, 2, WIDTH / 4);
    for layer in 0..2 {
        let of = |site: &str| matrices.get(&format!("layer{layer}.{site}")).ok_or(format!("no layer{layer}.{site}"));
        let normed = |x_hat: &[f64], norm: &str| -> Anyhow<Vec<f64>> {
            let w = weight(layer, norm)?;
            Ok(x_hat.chunks_exact(WIDTH).flat_map(|row| oracle::product(row, &w)).collect())
        };
        let equal = |what: &str, got: &[f64], want: &[f64]| {
            let got: Vec<f32> = got.iter().map(|&x| x as f32).collect();
            let error = oracle::relative_error(&got, want);
            assert!(error < 1e-5, "layer {layer}: {what} is off by {error}");
        };
        // The norm of layer 0 saves nothing: its output is what the projections save.
        let into_attention =
            if layer == 0 { of("attn_in")?.clone() } else { normed(of("norm.attn")?, "input_layernorm")? };
        let v = oracle::linear(&into_attention, WIDTH, &weight(layer, "self_attn.v_proj")?, None, None);
        assert_eq!(of("attn_qkv.k")?.len(), sequences[4].end * KV);
        equal("v", of("attn_qkv.v")?, &v);
        let o = oracle::attention([of("attn_qkv.q")?, of("attn_qkv.k")?, &v], heads, |i, j| j <= i, &sequences);
        equal("attention's output", of("attn_out")?, &o);
        let into_mlp = normed(of("norm.mlp")?, "post_attention_layernorm")?;
        for (site, name) in [("act_fn.gate", "mlp.gate_proj"), ("act_fn.up", "mlp.up_proj")] {
            equal(site, of(site)?, &oracle::linear(&into_mlp, WIDTH, &weight(layer, name)?, None, None));
        }
        assert_eq!(of("mlp_out")?.len(), sequences[4].end * FEED_FORWARD);
        equal("mlp_out", of("mlp_out")?, &oracle::swiglu(of("act_fn.gate")?, of("act_fn.up")?));
    }
    // The loss is that of the same rows.
    let five: String = place.text("rows.jsonl")?.lines().take(5).map(|line| format!("{line}\n")).collect();
    place.write("five.jsonl", five)?;
    let loss = place.eval("--model model --data five.jsonl")?["loss"].as_f64().ok_or("loss")?;
    assert!((told["loss"].as_f64().ok_or("loss")? - loss).abs() < 1e-6);
    Ok(())
}

#[test]
fn the_table_the_json_and_the_charts() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let outcome = place.run(&format!("{SEEN} --sites norm.mlp,act_fn --layers 1 --energy 90 --out seen"))?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.told());
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", outcome.told());
    assert!(lines[0].contains("rank for 90 %") && !lines[0].contains("95"), "{}", outcome.told());
    for (line, site) in lines[1..4].iter().zip(["norm.mlp", "act_fn.gate", "act_fn.up"]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..2], ["1", site], "{line}");
    }
    assert!(lines[4].starts_with("loss "), "{}", outcome.told());
    let files = place.files("seen")?;
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["activations.json", "rank-90.svg", "spectra-act_fn.gate.svg", "spectra-act_fn.up.svg", "spectra-norm.mlp.svg"]
    );
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".svg")) {
        let svg = String::from_utf8_lossy(bytes);
        assert!(svg.starts_with("<svg") && svg.contains("</svg>") && svg.contains("layer"), "{name}");
    }
    let json = place.run(&format!("{SEEN} --json"))?;
    assert_eq!((json.code, json.stdout.lines().count()), (Some(0), 1), "{}", json.told());
    let object: Value = serde_json::from_str(&json.stdout)?;
    let all = object["activations"].as_array().ok_or("activations")?;
    // Both layers, and no spectra: they are for the file.
    assert_eq!((all.len(), object["rows"].as_u64()), (18, Some(4)));
    assert!(all.iter().all(|facts| facts.get("singular_values").is_none() && facts["layer"].is_u64()));
    Ok(())
}

#[test]
fn an_adapter_decides_what_is_saved() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--lora-targets o_proj --out small")?;
    let sites = |flags: &str| -> Anyhow<Vec<String>> {
        let outcome = place.run(&format!("{SEEN} --json {flags}"))?;
        assert_eq!(outcome.code, Some(0), "{}", outcome.told());
        let object: Value = serde_json::from_str(&outcome.stdout)?;
        let all = object["activations"].as_array().ok_or("activations")?;
        Ok(all.iter().map(|facts| facts["site"].as_str().unwrap_or_default().to_owned()).collect())
    };
    let small = sites("--adapter small --layers 0")?;
    assert_eq!(small, ["attn_out", "norm.mlp", "act_fn.gate", "act_fn.up"]);
    assert_eq!(sites("--adapter adapter --layers 0")?.len(), 9);
    let nothing = place.run(&format!("{SEEN} --adapter small --sites mlp_out"))?;
    assert_eq!(nothing.complaint(2, &["sites: nothing is saved at mlp_out in layers 0, 1", "--adapter"]), None);
    Ok(())
}
