//! `loract report`: the page says what the files of a run say, and needs nothing but itself.

use serde_json::Value;

use crate::harness::{Anyhow, Place};

const RUN: &str = "--steps 12 --lr 1e-2 --activations loract --eval-data rows.jsonl --eval-every 4 --audit-every 6";

/// The page of runs.
fn page(place: &Place, words: &str) -> Anyhow<String> {
    let outcome = place.run(&format!("report {words}"))?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.told());
    let page = place.text(outcome.stdout.trim_end())?;
    for foreign in ["http:", "https:", "//", "src=", "href", "url(", "@import", "<link", "<script", "<iframe"] {
        assert!(!page.contains(foreign), "the page is not by itself: {foreign}");
    }
    for part in ["<!doctype html>", "prefers-color-scheme:dark", "name=viewport", "</html>"] {
        assert!(page.contains(part), "{part}");
    }
    Ok(page)
}

/// The part after `from`, up to `to`.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Anyhow<&'a str> {
    let (_, after) = text.split_once(from).ok_or_else(|| format!("no {from:?}"))?;
    Ok(after.split_once(to).ok_or_else(|| format!("no {to:?} after {from:?}"))?.0)
}

/// The cells of a table's body, row by row.
fn cells(table: &str) -> Anyhow<Vec<Vec<String>>> {
    let text =
        |cell: &str| cell.split_once('>').map_or("", |(_, text)| text).split('<').next().unwrap_or("").to_owned();
    let body = between(table, "<tbody>", "</tbody>")?;
    Ok(body.split("<tr").skip(1).map(|row| row.split("<td").skip(1).map(text).collect()).collect())
}

/// The figure under a title.
fn figure<'a>(page: &'a str, title: &str) -> Anyhow<&'a str> {
    between(page, &format!("<figcaption>{title}</figcaption>"), "</figure>")
}

fn attribute(tag: &str, name: &str) -> Option<f64> {
    tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?.parse().ok()
}

/// Numbers along an axis: (pixel, value) of its first and last tick.
fn axis(figure: &str, anchor: &str, at: &str) -> Anyhow<[(f64, f64); 2]> {
    let tick = |text: &str| -> Option<(f64, f64)> {
        let (tag, rest) = text.split_once('>')?;
        let value = rest.split('<').next()?.trim().parse().ok()?;
        tag.contains(&format!("text-anchor=\"{anchor}\"")).then_some((attribute(tag, at)?, value))
    };
    let ticks: Vec<_> = figure.split("<text").skip(1).filter_map(tick).collect();
    Ok([*ticks.first().ok_or("no tick")?, *ticks.last().ok_or("no tick")?])
}

/// The points of the first line in a colour, read back from its pixels; and what a pixel is, along y.
fn drawn(figure: &str, colour: &str) -> Anyhow<(Vec<(f64, f64)>, f64)> {
    let line = figure.split("<polyline").skip(1).find(|line| {
        let tag = line.split('>').next().unwrap_or("");
        tag.contains(colour) && tag.matches(',').count() > 1
    });
    let points = between(line.ok_or("no line")?, "points=\"", "\"")?;
    let back = |[(p, v), (q, w)]: [(f64, f64); 2], pixel: f64| v + (pixel - p) * (w - v) / (q - p);
    let (x, y) = (axis(figure, "middle", "x")?, axis(figure, "end", "y")?);
    let point = |pair: &str| -> Option<(f64, f64)> {
        let (a, b) = pair.split_once(',')?;
        Some((back(x, a.parse().ok()?), back(y, b.parse().ok()?)))
    };
    let a_pixel = ((y[1].1 - y[0].1) / (y[1].0 - y[0].0)).abs();
    Ok((points.split(' ').filter_map(point).collect(), a_pixel))
}

/// As the program prints them.
fn bytes(count: u64) -> String {
    let count = count as f64;
    let (unit, name) = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")].into_iter().find(|u| count >= u.0).unwrap_or((1.0, "B"));
    let value = count / unit;
    if value >= 100.0 || unit == 1.0 { format!("{value:.0} {name}") } else { format!("{value:.1} {name}") }
}

#[test]
fn the_page_says_what_the_files_say() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained(RUN)?;
    let page = page(&place, "out")?;
    let report = place.json("out/report.json")?;
    let lines = place.lines("out/metrics.jsonl")?;
    let steps: Vec<&Value> = lines.iter().filter(|line| line.get("loss").is_some()).collect();
    let number = |value: &Value| value.as_f64().ok_or("a number");

    let table = cells(between(&page, "<table class=steps>", "</table>")?)?;
    assert_eq!((table.len(), steps.len()), (12, 12));
    for (row, step) in table.iter().zip(&steps) {
        assert_eq!(row[0], step["step"].to_string());
        assert_eq!(row[1], format!("{:.6}", number(&step["loss"])?));
        assert_eq!(row[3], format!("{:.5}", number(&step["grad_norm"])?));
        assert_eq!(row[4], step["tokens"].to_string());
        assert_eq!(row[7], bytes(step["saved_bytes"].as_u64().ok_or("saved")?));
        assert_eq!(row[8], bytes(step["peak_activation_bytes"].as_u64().ok_or("peak")?));
    }
    let (points, pixel) = drawn(figure(&page, "Loss")?, "#0072B2")?;
    assert_eq!(points.len(), steps.len());
    for ((x, y), step) in points.into_iter().zip(&steps) {
        // Both ticks and the point itself are at whole pixels.
        assert!((x - number(&step["step"])?).abs() < 0.1, "{x} {step}");
        assert!((y - number(&step["loss"])?).abs() <= 3.0 * pixel, "{y} {step}, a pixel is {pixel}");
    }
    let evaluation = lines.iter().rfind(|line| line.get("eval_loss").is_some()).ok_or("an evaluation")?;
    let (evaluated, pixel) = drawn(figure(&page, "Loss of the evaluations")?, "#D55E00")?;
    let losses: Vec<f64> = lines.iter().filter_map(|line| line.get("eval_loss")?.as_f64()).collect();
    assert_eq!((evaluated.len(), losses.len()), (3, 3));
    assert!(evaluated.iter().zip(&losses).all(|((_, y), loss)| (y - loss).abs() <= 3.0 * pixel), "{evaluated:?}");
    let card = between(&page, "<b>Evaluation loss</b>", "</div></div>")?;
    assert!(card.contains(&format!(">{:.4}<", number(&evaluation["eval_loss"])?)), "{card}");
    let best = format!("best {:.4} after step {}", number(&report["best"]["loss"])?, report["best"]["step"]);
    assert!(card.contains(&best), "{card}");
    assert!(page.contains("preset loract"));

    let memory = &report["memory"];
    let sites = cells(between(&page, "<table class=sites>", "</table>")?)?;
    for (column, part) in [(2, &memory["saved"]), (3, &report["planned"]["saved"]), (4, &memory["at_peak"])] {
        let kept = part.as_object().ok_or("bytes")?.iter().filter(|(name, _)| name.starts_with("saved."));
        for (category, count) in kept {
            let [_, site, form] = category.split('.').collect::<Vec<_>>()[..] else { return Err("a category".into()) };
            let form = if form == "hybrid" { "low-rank factors and quantised residual" } else { form };
            let row = sites.iter().find(|row| row[0] == site && row[1] == form).ok_or("a row")?;
            assert_eq!(row[column], bytes(count.as_u64().ok_or("bytes")?), "{category}");
        }
    }
    assert!(sites.iter().any(|row| row[0] == "mlp_out" && row[1] == "computed again in backward"), "{sites:?}");
    assert_eq!(sites.last().ok_or("a sum")?[2], bytes(memory["saved_bytes"].as_u64().ok_or("bytes")?));

    let audit = place.lines("out/audits.jsonl")?.pop().ok_or("an audit")?;
    let cosines = cells(between(&page, "<table class=cosines>", "</table>")?)?.concat();
    for param in audit["params"].as_array().ok_or("params")? {
        assert!(cosines.contains(&format!("{:.4}", number(&param["cosine"])?)), "{param}");
    }
    let whole = format!("step 12: cosine {:.4}, relative error", number(&audit["whole"]["cosine"])?);
    assert!(page.contains(&whole), "{whole}");
    for (key, value) in report["config"].as_object().ok_or("settings")? {
        let shown = between(&page, &format!("<th>{key}</th><td class=set>"), "</td>")?;
        let listed = |items: &Vec<Value>| items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
        let want = value.as_array().map(listed).or(value.as_str().map(str::to_owned));
        assert_eq!(shown, want.unwrap_or_else(|| value.to_string()), "{key}");
    }
    Ok(())
}

#[test]
fn live_bytes_are_those_of_the_ledger() -> Anyhow {
    let place = Place::with("llama-tied")?;
    for preset in ["exact", "loract", "checkpoint"] {
        place.trained(&format!("--activations {preset} --grad-accum 2 --steps 3 --out {preset}"))?;
        let report = place.json(&format!("{preset}/report.json"))?;
        let timeline = &report["timeline"];
        let phases: Vec<&str> =
            timeline["phase"].as_array().ok_or("phases")?.iter().filter_map(Value::as_str).collect();
        assert!((20..=160).contains(&phases.len()), "{preset}: {}", phases.len());
        assert!(phases.contains(&"forward") && phases.contains(&"backward"), "{phases:?}");
        let live = timeline["bytes"].as_object().ok_or("bytes")?;
        let at = |moment: usize| live.iter().map(move |(name, bytes)| (name, bytes[moment].as_u64().unwrap_or(0)));
        let sum = |moment: usize| at(moment).map(|(_, bytes)| bytes).sum::<u64>();
        let peak = report["memory"]["peak_activation_bytes"].as_u64().ok_or("peak")?;
        let fullest = (0..phases.len()).find(|moment| sum(*moment) == peak).ok_or("the peak is not there")?;
        assert!((0..phases.len()).all(|moment| sum(moment) <= peak));
        assert_eq!(report["memory"]["peak_phase"], phases[fullest], "{preset}");
        for (name, bytes) in at(fullest) {
            assert_eq!(report["memory"]["at_peak"][name].as_u64().unwrap_or(0), bytes, "{preset} {name}");
        }
        // The step with the most bytes is one of the log's.
        let step = report["memory_step"].as_u64().ok_or("a step")? as usize;
        let line = &place.lines(&format!("{preset}/metrics.jsonl"))?[step - 1];
        assert_eq!(line["peak_activation_bytes"], peak);
        let page = page(&place, preset)?;
        assert!(page.contains(&format!("\npeak {}\n", bytes(peak))), "{preset}: {}", bytes(peak));
    }
    Ok(())
}

#[test]
fn runs_side_by_side_show_what_differs() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--steps 4 --out a/run")?;
    place.trained("--steps 6 --out b/run --activations loract --lr 1e-2")?;
    let refused = place.run("report a/run b/run")?;
    assert_eq!(refused.complaint(2, &["out", "FILE.html"]), None);
    let page = page(&place, "a/run b/run --out both.html")?;
    let [one, two] = ["a/run/report.json", "b/run/report.json"].map(|name| place.json(name));
    let (one, two) = (one?, two?);
    let keys = one["config"].as_object().ok_or("settings")?.keys();
    let mut want: Vec<&str> =
        keys.filter(|key| one["config"][*key] != two["config"][*key]).map(String::as_str).collect();
    let mut got: Vec<&str> =
        page.split("<tr class=differs><th>").skip(1).filter_map(|rest| rest.split('<').next()).collect();
    want.sort_unstable();
    got.sort_unstable();
    assert_eq!(got, want);
    assert!(want.contains(&"lr") && want.contains(&"sites") && want.contains(&"out"), "{want:?}");
    for (colour, run) in [("#0072B2", "a/run"), ("#D55E00", "b/run")] {
        let (points, pixel) = drawn(figure_with_legend(&page, "Loss")?, colour)?;
        let losses = place.losses(run)?;
        assert_eq!(points.len(), losses.len(), "{run}");
        assert!(points.iter().zip(&losses).all(|((_, y), loss)| (y - loss).abs() <= 3.0 * pixel), "{run}: {points:?}");
        assert!(page.contains(&format!("<b>{run}</b>")), "{run}");
    }
    assert!(page.contains("a/run: Everything is kept exactly") && page.contains("--audit-every 50"));
    Ok(())
}

fn figure_with_legend<'a>(page: &'a str, title: &str) -> Anyhow<&'a str> {
    let figure = figure(page, title)?;
    assert!(figure.contains("class=legend"), "{title}");
    Ok(figure)
}

#[test]
fn names_cannot_become_markup() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.write("rows<i>&.jsonl", place.read("rows.jsonl")?)?;
    place.trained("--data rows<i>&.jsonl --out o<b>&'x\"")?;
    let page = page(&place, "o<b>&'x\" --out page.html")?;
    for raw in ["o<b>", "rows<i>", "&'x"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(page.contains("o&lt;b&gt;&amp;&#39;x&quot;") && page.contains("rows&lt;i&gt;&amp;.jsonl"));
    Ok(())
}

#[test]
fn a_run_that_has_not_finished_is_shown_as_far_as_it_got() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--steps 5 --save-every 2 --activations loract --out whole")?;
    let lines: Vec<String> = place.text("whole/metrics.jsonl")?.lines().map(str::to_owned).collect();
    let log = format!("{}\n{}", lines[..3].join("\n"), &lines[3][..20]);
    place.write("killed/metrics.jsonl.partial", &log)?;
    let early = page(&place, "killed")?;
    for words in ["has not finished", "cut off", "Not known yet", "<div class=value>3</div>"] {
        assert!(early.contains(words), "{words}");
    }
    // With a checkpoint there is more to tell; one that is damaged is passed over.
    place.copy("whole/checkpoint-2", "killed/checkpoint-2")?;
    place.write("killed/checkpoint-3/checkpoint.json", "{")?;
    let page = page(&place, "killed")?;
    for words in
        ["3 of 5", "checkpoint-2 tells", "checkpoint-3/checkpoint.json", "<table class=sites>", "preset loract"]
    {
        assert!(page.contains(words), "{words}");
    }
    let record = place.json("whole/checkpoint-2/checkpoint.json")?;
    let peak = record["tally"]["largest"]["peak_activation_bytes"].as_u64().ok_or("peak")?;
    assert!(page.contains(&format!("\npeak {}\n", bytes(peak))));
    // A run that became NaN leaves its log.
    let failed = place.train("--steps 5 --lr 1e30 --max-grad-norm 0 --out nan")?;
    assert_eq!(failed.code, Some(1), "{}", failed.told());
    assert!(self::page(&place, "nan")?.contains("has not finished"));
    Ok(())
}

#[test]
fn every_weight_trained_and_a_resumed_run_are_shown() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("--fine-tune-type full --out full")?;
    let page_of_full = page(&place, "full")?;
    assert!(page_of_full.contains("every weight is trained") && !page_of_full.contains("LoRA r ="));
    place.trained("--steps 4 --save-every 2 --out resumed")?;
    place.trained("--steps 8 --save-every 2 --resume --out resumed")?;
    let page = page(&place, "resumed")?;
    let after = &place.json("resumed/report.json")?["resumed_after"][0];
    assert!(page.contains(&format!("resumed after step {after}")) && page.contains("8 of 8"));
    Ok(())
}

#[test]
fn a_long_run_makes_a_small_page() -> Anyhow {
    let place = Place::with("llama-tied")?;
    place.trained("")?;
    let loss = |step: usize| if step == 70_001 { 9.75 } else { 2.0 + (step * 7919 % 997) as f64 / 1e3 };
    let lines = (1..=100_000).map(|step| {
        format!(
            "{{\"step\":{step},\"loss\":{},\"lr\":0.1,\"grad_norm\":1.5,\"tokens\":8,\"seconds\":0.5,\"saved_bytes\":9,\
             \"peak_activation_bytes\":10}}\n",
            loss(step)
        )
    });
    place.write("out/metrics.jsonl", lines.collect::<String>())?;
    let page = page(&place, "out")?;
    assert!(page.len() < 400_000, "{} bytes", page.len());
    let figure = figure(&page, "Loss")?;
    assert!(figure.contains("Of every 250 steps the least and the greatest value are drawn"));
    let (points, pixel) = drawn(figure, "#0072B2")?;
    let top = points.iter().copied().fold((0.0, 0.0), |a, b| if b.1 > a.1 { b } else { a });
    assert!((top.1 - 9.75).abs() <= 3.0 * pixel && (top.0 - 70_001.0).abs() < 500.0, "{top:?}");
    assert!(page.contains("one in 500, and the last") && page.contains("<td class=num>100000</td>"));
    Ok(())
}

#[test]
fn bad_folders_are_told_with_a_way_on() -> Anyhow {
    type Prepare = fn(&Place) -> Anyhow;
    let nothing: Prepare = |_| Ok(());
    let cases: [(&str, Prepare, &[&str]); 12] = [
        ("nowhere", nothing, &["nowhere", "is not there", "--out"]),
        ("rows.jsonl", nothing, &["rows.jsonl", "is a file", "--out"]),
        ("model", nothing, &["model", "metrics.jsonl", "--out"]),
        (
            "out",
            |p| Ok(std::fs::remove_file(p.path("out/report.json"))?),
            &["out/report.json", "missing", "train again"],
        ),
        (
            "out",
            |p| Ok(std::fs::remove_file(p.path("out/metrics.jsonl"))?),
            &["out/metrics.jsonl", "missing", "train again"],
        ),
        ("out", |p| p.write("out/report.json", "{\"memory\": 3}"), &["out/report.json", "invalid type", "again"]),
        (
            "out",
            |p| p.write("out/report.json", &p.read("out/report.json")?[..99]),
            &["out/report.json", "EOF", "again"],
        ),
        ("out", |p| p.write("out/metrics.jsonl", "{\"step\": 1}\n"), &["out/metrics.jsonl line 1", "loss", "again"]),
        (
            "out",
            |p| p.write("out/metrics.jsonl", "{\"step\":2,\"loss\":1}\n{\"step\":2,\"loss\":1}\n"),
            &["out/metrics.jsonl line 2", "step 2 after step 2"],
        ),
        ("out", |p| p.write("out/metrics.jsonl", ""), &["out/metrics.jsonl", "no step"]),
        ("out --out page.txt", nothing, &["page.txt", ".html"]),
        ("out --out none/page.html", nothing, &["no folder none"]),
    ];
    let mut failures = Vec::new();
    let good = Place::with("llama-tied")?;
    good.trained("")?;
    let files = good.files("out")?;
    for (words, prepare, says) in cases {
        let place = Place::with("llama-tied")?;
        files.iter().try_for_each(|(name, bytes)| place.write(&format!("out/{name}"), bytes))?;
        prepare(&place)?;
        failures.extend(place.run(&format!("report {words}"))?.complaint(2, says));
        assert!(!place.path("out/report.html").exists(), "{words}");
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}
