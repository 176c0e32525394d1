//! `loract bench decompose`: every method on every matrix, with answers that can be; `loract bench step`: every setting
//! in turn; `loract bench scaling`: along lengths and layers; and what they say to bad input.

use serde_json::Value;

use crate::harness::{Anyhow, Place};

const SMALL: &str = "bench decompose --threads 1 --shape 40x24 --ranks 3,2,3 --repeats 2";
const METHODS: [&str; 7] = ["qb-sampled", "qb-weighted", "qb-gaussian", "qb-power", "rsvd", "tsvd", "nystrom"];

/// One JSON object of a good run.
fn measured(place: &Place, words: &str) -> Anyhow<Value> {
    let outcome = place.run(&format!("{words} --json"))?;
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (Some(0), 1), "{}", outcome.told());
    Ok(serde_json::from_str(&outcome.stdout)?)
}

#[test]
fn every_method_is_measured_at_every_rank_of_every_matrix() -> Anyhow {
    let place = Place::empty()?;
    let found = measured(&place, &format!("{SMALL} --out out"))?;
    assert_eq!(found, place.json("out/decompose.json")?);
    assert_eq!((found["threads"].as_u64(), found["repeats"].as_u64()), (Some(1), Some(2)));
    let matrices = found["matrices"].as_array().ok_or("matrices")?;
    assert_eq!(matrices.len(), 7);
    for matrix in matrices {
        let name = matrix["matrix"].as_str().ok_or("a name")?;
        assert_eq!((matrix["m"].as_u64(), matrix["n"].as_u64()), (Some(40), Some(24)), "{name}");
        let outcomes = matrix["outcomes"].as_array().ok_or("outcomes")?;
        let got: Vec<(u64, &str)> = outcomes
            .iter()
            .map(|o| (o["rank"].as_u64().unwrap_or(0), o["method"].as_str().unwrap_or_default()))
            .collect();
        let want: Vec<(u64, &str)> = [2, 3].into_iter().flat_map(|k| METHODS.map(|method| (k, method))).collect();
        assert_eq!(got, want, "{name}");
        for outcome in outcomes {
            let ratio = outcome["ratio"].as_f64().unwrap_or(f64::NAN);
            assert!(ratio > 1.0 - 1e-5 && outcome["milliseconds"].as_f64() > Some(0.0), "{name}: {outcome}");
            assert!(outcome["method"] != "tsvd" || ratio < 1.0 + 1e-5, "{name}: {outcome}");
        }
        for chart in ["error", "time"] {
            let svg = place.text(&format!("out/{chart}-{name}.svg"))?;
            assert!(svg.starts_with("<svg") && METHODS.iter().all(|method| svg.contains(method)), "{name}");
        }
    }
    // The best error of i^-1 follows from its name.
    let best = matrices[1]["outcomes"][0]["best_error"].as_f64().ok_or("best")?;
    let energy = |from: usize| (from..=24).map(|i| (i as f64).powi(-2)).sum::<f64>();
    assert!((best - (energy(3) / energy(1)).sqrt()).abs() < 1e-5, "{best}");
    Ok(())
}

#[test]
fn the_table_names_matrices_ranks_and_methods() -> Anyhow {
    let place = Place::empty()?;
    let outcome = place.run(&format!("{SMALL} --matrices outliers,power-2"))?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.told());
    // In the order of the list, whatever the order asked for.
    let heads: Vec<&str> = outcome.stdout.lines().filter(|line| line.contains("k = 2")).collect();
    assert!(heads.len() == 2 && heads[0].starts_with("power-2 (40x24)"), "{}", outcome.told());
    assert!(heads[1].starts_with("outliers (40x24)") && heads[1].contains("k = 3"), "{}", outcome.told());
    for method in METHODS {
        assert_eq!(outcome.stdout.lines().filter(|line| line.starts_with(method)).count(), 3, "{}", outcome.told());
    }
    assert!(outcome.stdout.contains("2 repeats, 1 threads"), "{}", outcome.told());
    Ok(())
}

/// The activations are those that `inspect` looks at, so the best errors are the same.
#[test]
fn activations_of_a_model_are_measured_too() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let model = "--model model --data rows.jsonl --rows 6 --layers 1";
    let found = measured(&place, &format!("{SMALL} --matrices none {model} --ranks 2,4,6"))?;
    let seen = place.run(&format!("inspect activations --threads 1 --json {model}"))?;
    let seen: Value = serde_json::from_str(&seen.stdout)?;
    let seen = seen["activations"].as_array().ok_or("activations")?;
    let matrices = found["matrices"].as_array().ok_or("matrices")?;
    assert_eq!((matrices.len(), seen.len()), (9, 9));
    for (matrix, facts) in matrices.iter().zip(seen) {
        let name = facts["site"].as_str().ok_or("site")?;
        assert_eq!(matrix["matrix"], format!("layer1.{name}"));
        let eighth = &facts["best_error"][0];
        let outcomes = matrix["outcomes"].as_array().ok_or("outcomes")?;
        let same = outcomes.iter().find(|o| o["rank"] == eighth["rank"]).ok_or_else(|| format!("{name}: {eighth}"))?;
        let [got, want] = [&same["best_error"], &eighth["relative_error"]].map(|e| e.as_f64().unwrap_or(f64::NAN));
        assert!((got - want).abs() < 1e-12, "{name}: {got} against {want}");
    }
    let both = measured(&place, &format!("{SMALL} --matrices copies {model} --sites attn_out"))?;
    let names: Vec<&Value> = both["matrices"].as_array().ok_or("matrices")?.iter().map(|m| &m["matrix"]).collect();
    assert_eq!(names, ["copies", "layer1.attn_out"]);
    Ok(())
}

#[test]
fn input_that_cannot_be_used() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.write("taken", "mine")?;
    for (flags, says) in [
        ("--shape 2048", &["shape: `2048`", "2048x512"][..]),
        ("--shape 0x5", &["shape: `0x5`", "at least 1"]),
        ("--shape 4xfive", &["shape: `4xfive`"]),
        ("--shape 18446744073709551615x2", &["shape: 18446744073709551615x2 is too large", "the most is"]),
        ("--shape 1000000x1000000", &["is too large"]),
        ("--ranks 0", &["ranks: 0", "least is 1"]),
        ("--ranks 4,x", &["ranks: `x`"]),
        ("--ranks 25 --shape 40x24", &["ranks: 25 is more than a 40x24 matrix has", "24", "--shape"]),
        ("--ranks 25 --shape 24x40", &["ranks: 25 is more than a 24x40 matrix has"]),
        ("--repeats 0", &["repeats: 0", "from 1"]),
        ("--repeats 18446744073709551615", &["repeats: 18446744073709551615", "1000"]),
        ("--matrices power-3", &["matrices: `power-3`", "power-2", "copies"]),
        ("--matrices none", &["matrices: none are left", "--model"]),
        ("--threads 0", &["threads: 0"]),
        ("--out taken", &["out: taken is a file"]),
        ("--model model", &["--data"]),
        ("--data rows.jsonl", &["--model"]),
        ("--layers 1", &["model: missing", "--layers"]),
        ("--sites norm", &["model: missing", "--sites"]),
        ("--model gone --data rows.jsonl --out new", &["gone"]),
        ("--model model --data gone.jsonl", &["cannot read gone.jsonl"]),
        ("--model model --data rows.jsonl --layers 2", &["layers: 2 is beyond the model's 2 layers"]),
        ("--model model --data rows.jsonl --sites mlp", &["sites: unknown site `mlp`"]),
        (
            "--matrices none --model model --data rows.jsonl --ranks 17 --sites attn_qkv.k",
            &["ranks: 17 is more than a", "x16 matrix has", "layer1.attn_qkv.k", "--sites"],
        ),
    ] {
        let outcome = place.run(&format!("bench decompose {flags}"))?;
        assert_eq!(outcome.complaint(2, says), None, "{flags}");
    }
    for (words, says) in
        [("bench", &["Usage", "decompose"][..]), ("bench everything", &["unrecognized subcommand", "everything"])]
    {
        assert_eq!(place.run(words)?.complaint(2, says), None, "{words}");
    }
    assert_eq!(place.text("taken")?, "mine");
    assert!(!place.path("new").exists());
    Ok(())
}

/// The settings measured, `exact` first.
fn settings(found: &Value) -> Anyhow<Vec<&str>> {
    let settings = found["settings"].as_array().ok_or("settings")?;
    Ok(settings.iter().filter_map(|setting| setting["activations"].as_str()).collect())
}

#[test]
fn steps_are_measured_in_turn() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let step = "bench step --model model --threads 1 --batch-size 3 --seq-len 12 --rounds 2";
    let found = measured(&place, &format!("{step} --presets loract-paper,exact,checkpoint"))?;
    assert_eq!(settings(&found)?, ["exact", "loract-paper", "checkpoint"]);
    assert_eq!((found["rows"].as_u64(), found["tokens"].as_u64()), (Some(3), Some(36)));
    assert_eq!(found["products_seconds"].as_array().map(Vec::len), Some(2));
    // Its forward product of every linear layer of both layers is among them, by shape.
    let gates = |p: &&Value| (p["m"].as_u64(), p["n"].as_u64(), p["k"].as_u64()) == (Some(36), Some(48), Some(32));
    let products = found["products"].as_array().ok_or("products")?;
    let gate = products.iter().find(|p| gates(p) && p["right_transposed"] == true).ok_or("gate's product")?;
    assert_eq!(gate["count"].as_u64(), Some(4), "gate and up of two layers: {gate}");
    // And beside it what runs through the LoRA pair, in the same pass.
    let of = |p: &Value, key: &str| p[key].as_f64().unwrap_or(0.0);
    let sum: f64 = products
        .iter()
        .map(|p| {
            of(p, "count") * of(p, "m") * (of(p, "n") * of(p, "k") + of(p, "weight_rank") * (of(p, "k") + of(p, "n")))
        })
        .sum();
    assert_eq!(found["products_operations"].as_f64(), Some(2.0 * sum));
    for setting in found["settings"].as_array().ok_or("settings")? {
        let seconds = setting["seconds"].as_array().ok_or("seconds")?;
        let parts = setting["seconds_in"].as_object().ok_or("parts")?;
        let sum: f64 = parts.values().filter_map(Value::as_f64).sum();
        assert_eq!(seconds.len(), 2, "{setting}");
        assert!(Some(sum) <= setting["median_seconds"].as_f64() && sum > 0.0, "{setting}");
        let compressed = parts.keys().any(|part| part.starts_with("compress "));
        assert_eq!(compressed, setting["activations"] == "loract-paper", "{setting}");
    }
    let exact = &found["settings"][0];
    assert_eq!(exact["to_exact"]["median"].as_f64(), Some(1.0));
    assert!(exact["saved_bytes"].as_u64() > found["settings"][2]["saved_bytes"].as_u64(), "{found}");

    let own = measured(&place, &format!("{step} --data rows.jsonl --sites act_fn=q4"))?;
    assert_eq!(settings(&own)?, ["exact", "as given"]);
    // A folder with the shapes alone is enough.
    std::fs::remove_file(place.path("model/model.safetensors"))?;
    let shapes = place.run(&format!("{step} --activations exact"))?;
    assert_eq!(shapes.code, Some(0), "{}", shapes.told());
    assert!(shapes.stderr.contains("random ones are taken"), "{}", shapes.told());
    assert!(shapes.stdout.contains("matrix products of exact alone"), "{}", shapes.told());
    Ok(())
}

#[test]
fn steps_that_cannot_be_measured() -> Anyhow {
    let place = Place::with("llama-tied")?;
    for (flags, says) in [
        ("", &["model: missing"][..]),
        ("--model gone", &["gone", "no such file"]),
        ("--model model --rounds 0", &["rounds: 0"]),
        ("--model model --presets fast", &["presets", "the presets are"]),
        ("--model model --presets exact --sites norm=q4", &["presets", "leave out --activations"]),
        ("--model model --warm-start reuse", &["warm-start: not measured here"]),
        ("--model model --compress-workers 1", &["compress-workers: not measured here"]),
        ("--model model --grad-accum 2", &["grad-accum: not measured here"]),
        ("--model model --data gone.jsonl", &["cannot read gone.jsonl"]),
        ("--model model --seq-len 100000", &["100000"]),
    ] {
        let outcome = place.run(&format!("bench step {flags}"))?;
        assert_eq!(outcome.complaint(2, says), None, "{flags}");
    }
    Ok(())
}

#[test]
fn steps_are_measured_along_tokens_and_layers() -> Anyhow {
    let place = Place::with("llama-tied")?;
    std::fs::remove_file(place.path("model/model.safetensors"))?;
    let words = "bench scaling --model model --threads 1 --batch-size 2 --seq-lens 12,200 --layers 1,3 --presets exact,checkpoint";
    let found = measured(&place, &format!("{words} --out out"))?;
    assert_eq!(found, place.json("out/scaling.json")?);
    let points = found["points"].as_array().ok_or("points")?;
    let place_of =
        |p: &Value| (p["along"].as_str().unwrap_or("").to_owned(), p["tokens"].as_u64(), p["layers"].as_u64());
    let want = [("tokens", 12, 1), ("tokens", 200, 1), ("layers", 12, 1), ("layers", 12, 3)];
    let want: Vec<_> = want.into_iter().map(|(a, t, l)| (a.to_owned(), Some(t), Some(l))).collect();
    assert_eq!(points.iter().map(place_of).collect::<Vec<_>>(), want);
    let saved = |point: usize, preset: usize| points[point]["settings"][preset]["saved_bytes"].as_f64();
    for (preset, name) in ["exact", "checkpoint"].into_iter().enumerate() {
        assert_eq!(points[0]["settings"][preset]["activations"], name);
        assert!(points[0]["settings"][preset]["seconds"].as_f64() > Some(0.0), "{found}");
        // What is kept is proportional to the tokens, but that a row's last token predicts nothing.
        let growth = saved(1, preset).ok_or("bytes")? / saved(0, preset).ok_or("bytes")?;
        assert!((200.0 / 12.0..=199.0 / 11.0).contains(&growth), "{name}: {growth}");
        assert!(saved(3, preset) > saved(2, preset), "{name}");
    }
    for chart in ["time-tokens", "memory-tokens", "time-layers", "memory-layers"] {
        let svg = place.text(&format!("out/{chart}.svg"))?;
        assert!(svg.starts_with("<svg") && svg.contains("checkpoint"), "{chart}");
    }
    let table = place.run("bench scaling --model model --threads 1 --seq-lens 12 --presets exact")?;
    assert!(table.code == Some(0) && table.stdout.contains("a token"), "{}", table.told());
    for (flags, says) in [
        ("", &["--model"][..]),
        ("--model gone", &["gone", "no such file"]),
        ("--model model --seq-lens 0", &["seq-lens: 0"]),
        ("--model model --layers 2,0", &["layers: 0"]),
        ("--model model --rounds 0", &["rounds: 0"]),
        ("--model model --presets fast", &["presets", "the presets are"]),
        ("--model model --out rows.jsonl", &["out", "is a file"]),
    ] {
        let outcome = place.run(&format!("bench scaling {flags}"))?;
        assert_eq!(outcome.complaint(2, says), None, "{flags}");
    }
    Ok(())
}
