//! `loract plan` says what `loract train` then takes; `loract inspect gradients` agrees with both.

use crate::harness::{Anyhow, Place};

#[test]
fn a_plan_is_what_training_reports() -> Anyhow {
    let place = Place::with("llama-untied")?;
    // All rows of one length, so that the plan's batch is the run's.
    let row = format!(
        "{{\"input_ids\": [{}]}}\n",
        (0..40).map(|t| (7 * t * t % 60).to_string()).collect::<Vec<_>>().join(",")
    );
    place.write("even.jsonl", row.repeat(4))?;
    let planned = place.run("plan --model model --batch-size 2 --seq-len 40 --lora-rank 2 --threads 1 --json")?;
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    let planned: serde_json::Value = serde_json::from_str(&planned.stdout)?;
    for plan in planned["presets"].as_array().ok_or("presets")? {
        let preset = plan["activations"].as_str().ok_or("a name")?;
        place.trained(&format!("--data even.jsonl --seq-len 40 --activations {preset} --out {preset}"))?;
        let report = place.json(&format!("{preset}/report.json"))?;
        for key in ["saved_bytes", "saved", "peak_activation_bytes", "peak_op"] {
            assert_eq!(report["memory"][key], report["planned"][key], "{preset} {key}");
            assert_eq!(report["memory"][key], plan["memory"][key], "{preset} {key}");
        }
    }
    Ok(())
}

#[test]
fn a_limit_names_what_fits() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let fit = |limit: &str| -> Anyhow<serde_json::Value> {
        let got = place.run(&format!("plan --model model --seq-len 16 --memory-limit {limit} --threads 1 --json"))?;
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        Ok(serde_json::from_str::<serde_json::Value>(&got.stdout)?["presets"][0].clone())
    };
    let (small, large) = (fit("1kB")?, fit("100GB")?);
    assert_eq!((&small["most_rows"], &small["longest_row"]), (&0.into(), &0.into()));
    assert_eq!(large["most_rows"], 1024);
    for (limit, says) in [("4 apples", "4GB"), ("-1GB", "4GB"), ("x", "900MB")] {
        let got = place.run(&format!("plan --model model --memory-limit={}", limit.replace(' ', "")))?;
        assert_eq!(got.code, Some(2));
        assert!(got.stderr.contains("memory-limit") && got.stderr.contains(says), "{}", got.stderr);
    }
    Ok(())
}

#[test]
fn a_run_that_would_not_fit_is_refused_and_told_what_would() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let refused = |flags: &str| -> Anyhow<(usize, String)> {
        let outcome = place.train(&format!("--steps 1 {flags}"))?;
        assert_eq!(outcome.complaint(2, &["memory-limit: a step over the longest rows takes about", "MB"]), None);
        let (_, after) = outcome.stderr.split_once("takes about ").ok_or("a size")?;
        Ok((after.split_once(" MB").ok_or("a size in MB")?.0.parse()?, outcome.stderr))
    };
    let (one, told) = refused("--batch-size 1 --memory-limit 1B")?;
    assert!(told.contains("one row does not fit either"), "{told}");
    let (many, _) = refused("--batch-size 2048 --memory-limit 1B")?;
    // Not the middle, where half the batch just fits or just does not.
    let limit = one + (many - one) * 5 / 8;
    assert!(one < limit && limit < many, "{one} {many}");
    let (_, told) = refused(&format!("--batch-size 2048 --grad-accum 3 --memory-limit {limit}MB"))?;
    let (_, after) = told.split_once("--batch-size ").ok_or("a batch")?;
    let batch: usize = after.split_once(" fits").ok_or("a batch that fits")?.0.parse()?;
    assert!(told.contains(&format!("--grad-accum {}", 2048 * 3 / batch)), "{told}");
    assert!(!place.path("out").exists());
    place.trained(&format!("--steps 1 --batch-size {batch} --memory-limit {limit}MB"))?;
    assert!(place.text("out/config.toml")?.contains(&format!("memory_limit = \"{limit}000000\"")));
    Ok(())
}

#[test]
fn gradients_are_audited() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let audit = |flags: &str| -> Anyhow<serde_json::Value> {
        let got = place.run(&format!(
            "inspect gradients --model model --data rows.jsonl --adapter adapter --batch-size 4 --threads 1 --json {flags}"
        ))?;
        assert_eq!(got.code, Some(0), "{}", got.stderr);
        Ok(serde_json::from_str(got.stdout.lines().next().ok_or("a line")?)?)
    };
    let cosine = |found: &serde_json::Value| found["whole"]["cosine"].as_f64().ok_or("a cosine");
    let exact = audit("--activations exact")?;
    assert!((cosine(&exact)? - 1.0).abs() < 1e-9 && exact["propagating_error"].is_null());
    let (coarse, fine) =
        (audit("--activations loract-paper --report seen")?, audit("--activations loract --residual-bits 8")?);
    assert!(cosine(&coarse)? < cosine(&fine)? && cosine(&fine)? > 0.999, "{coarse} {fine}");
    assert!(coarse["propagating_error"].as_f64() > fine["propagating_error"].as_f64());
    assert_eq!(coarse["params"].as_array().map(Vec::len), Some(28));
    assert!(place.text("seen/gradients.jsonl")?.contains("relative_error"));
    assert!(place.text("seen/cosine-as-given.svg")?.contains("</svg>"));
    let wrong = place.run("inspect gradients --model model --data nowhere.jsonl")?;
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    Ok(())
}

#[test]
fn audits_inside_a_run_leave_it_as_it_is() -> Anyhow {
    let place = Place::with("llama-tied")?;
    let flags = "--steps 4 --batch-size 4 --activations loract-paper --warm-start refresh";
    place.trained(&format!("{flags} --out plain"))?;
    place.trained(&format!("{flags} --audit-every 2 --out audited"))?;
    assert_eq!(place.losses("plain")?, place.losses("audited")?);
    assert_eq!(place.adapter("plain")?, place.adapter("audited")?);
    assert_eq!(
        place.text("plain/config.toml")?.replace("audit_every = 0", "audit_every = 2").replace("plain", "audited"),
        place.text("audited/config.toml")?
    );
    let audits = place.lines("audited/audits.jsonl")?;
    assert_eq!(audits.iter().map(|audit| audit["step"].as_u64()).collect::<Vec<_>>(), [Some(2), Some(4)]);
    for audit in &audits {
        let cosine = audit["whole"]["cosine"].as_f64().ok_or("a cosine")?;
        assert!(cosine > 0.2 && cosine < 0.9999, "{cosine}");
        assert!(audit["sites"].as_array().is_some_and(|sites| !sites.is_empty()));
    }
    assert!(place.text("plain/audits.jsonl").is_err());
    Ok(())
}
