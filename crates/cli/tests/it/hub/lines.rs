//! Connections that break, servers that mix things up, bytes that are not the right ones.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::harness::Anyhow;
use crate::hub::place::{WEIGHTS, World};
use crate::hub::server::{COMMIT, ID, Wrong};

/// The parts of the weights that were asked for.
fn ranges(world: &World) -> Vec<Option<String>> {
    let requests = world.hub.requests().into_iter();
    let weights = requests.filter(|request| request.path == format!("/storage/{WEIGHTS}"));
    weights.map(|request| request.headers.get("range").cloned()).collect()
}

#[test]
fn a_cut_connection_is_gone_on_from() -> Anyhow {
    let world = World::new()?;
    world.hub.fault("GET", "/storage/", 1, Wrong::CutAfter(5000));
    world.hub.fault("GET", "/storage/", 1, Wrong::CutAfter(3000));
    let outcome = world.evaluated(&[])?;
    assert!(outcome.stderr.contains("broke after 5000 of"), "{}", outcome.told());
    assert_eq!(ranges(&world), [None, Some("bytes=5000-".into()), Some("bytes=8000-".into())]);
    assert!(!world.blob(WEIGHTS, ".incomplete").exists());
    Ok(())
}

#[test]
fn what_an_earlier_run_began_is_gone_on_from() -> Anyhow {
    let world = World::new()?;
    let bytes = world.place.read("model/model.safetensors")?;
    world.leave_part(WEIGHTS, &bytes[..7000])?;
    let outcome = world.evaluated(&[])?;
    assert!(outcome.stderr.contains("model.safetensors: going on after 7.0 kB"), "{}", outcome.told());
    assert_eq!(ranges(&world), [Some("bytes=7000-".into())]);
    Ok(())
}

#[test]
fn a_part_that_was_whole_needs_no_bytes() -> Anyhow {
    let world = World::new()?;
    world.leave_part(WEIGHTS, &world.place.read("model/model.safetensors")?)?;
    world.evaluated(&[])?;
    assert_eq!(ranges(&world), []);
    Ok(())
}

#[test]
fn a_wrong_beginning_is_dropped() -> Anyhow {
    for part in [vec![0; 7000], vec![0; 10_000_000]] {
        let world = World::new()?;
        let long = part.len() > 7000;
        world.leave_part(WEIGHTS, &part)?;
        let outcome = world.evaluated(&[])?;
        assert_eq!(outcome.stderr.contains("what was there before is dropped"), !long, "{}", outcome.told());
        assert_eq!(ranges(&world).last(), Some(&None));
    }
    Ok(())
}

#[test]
fn a_server_without_ranges_sends_all_again() -> Anyhow {
    let world = World::new()?;
    let bytes = world.place.read("model/model.safetensors")?;
    world.leave_part(WEIGHTS, &bytes[..7000])?;
    world.hub.fault("GET", "/storage/", 1, Wrong::IgnoresRange);
    world.evaluated(&[])?;
    assert_eq!(ranges(&world), [Some("bytes=7000-".into())]);
    Ok(())
}

#[test]
fn another_part_than_asked_for_is_not_taken() -> Anyhow {
    let world = World::new()?;
    world.leave_part(WEIGHTS, &world.place.read("model/model.safetensors")?[..7000])?;
    world.hub.fault("GET", "/storage/", 1, Wrong::SendsFrom(6000));
    let outcome = world.evaluated(&[])?;
    assert!(outcome.stderr.contains("sent `bytes 6000-"), "{}", outcome.told());
    assert_eq!(ranges(&world), [Some("bytes=7000-".into()), None]);
    Ok(())
}

#[test]
fn a_silent_server_is_asked_again() -> Anyhow {
    let world = World::new()?;
    world.hub.fault("GET", "/storage/", 1, Wrong::Waits(Duration::from_secs(4)));
    let outcome = world.evaluated(&[("HF_HUB_DOWNLOAD_TIMEOUT", "1")])?;
    assert!(outcome.stderr.contains("again in 1 s"), "{}", outcome.told());
    assert_eq!(ranges(&world).len(), 2);
    Ok(())
}

#[test]
fn another_size_than_announced_is_no_model() -> Anyhow {
    let world = World::new()?;
    let size = world.place.read("model/model.safetensors")?.len();
    world.hub.fault("HEAD", WEIGHTS, 1, Wrong::Announces(1));
    let says =
        ["model.safetensors from http://", "damaged", &format!("it has {size} bytes, announced were {}", size + 1)];
    assert_eq!(world.eval(&[])?.complaint(1, &says), None);
    world.assert_no_weights();
    assert!(!world.blob(WEIGHTS, ".incomplete").exists(), "deleted");
    world.evaluated(&[])?;
    Ok(())
}

#[test]
fn other_bytes_than_announced_are_no_model() -> Anyhow {
    for (part, file, sum) in [("/storage/", WEIGHTS, "SHA-256"), ("tokenizer.json", "tokenizer.json", "SHA-1")] {
        let world = World::new()?;
        world.hub.fault("GET", part, 1, Wrong::OtherBytes);
        let outcome = world.eval(&[])?;
        assert_eq!(outcome.complaint(1, &[file, "damaged", sum, &world.hub.etag(file), "deleted"]), None);
        world.assert_no_weights();
        assert!(!world.blob(file, ".incomplete").exists() && !world.blob(file, "").exists(), "deleted");
        world.evaluated(&[])?;
    }
    Ok(())
}

#[test]
fn busy_servers_are_waited_for() -> Anyhow {
    let world = World::new()?;
    world.hub.fault("GET", "/api/", 1, Wrong::Status(429, "Retry-After: 2\r\n"));
    world.hub.fault("GET", "/api/", 1, Wrong::Status(500, "Retry-After: 0\r\n"));
    world.hub.fault("HEAD", WEIGHTS, 1, Wrong::Status(503, ""));
    world.hub.fault("GET", "/storage/", 3, Wrong::Status(502, "Retry-After: 0\r\n"));
    let begun = std::time::Instant::now();
    let outcome = world.evaluated(&[])?;
    assert!(begun.elapsed() >= Duration::from_secs(3), "2 s as asked, 1 s of our own");
    for says in [
        "429 Too Many Requests; again in 2 s",
        "500 Internal Server Error; again in 0 s",
        "503 Service Unavailable; again in 1 s",
    ] {
        assert!(outcome.stderr.contains(says), "{says}\n{}", outcome.told());
    }
    Ok(())
}

#[test]
fn a_run_tells_programs_of_downloads_and_keeps_the_id() -> Anyhow {
    let world = World::new()?;
    let words = crate::harness::train(&format!("--model {ID} --progress json"));
    let outcome = world.run(&[], &words)?;
    assert_eq!(outcome.code, Some(0), "{}", outcome.told());
    let events: Vec<Value> = outcome.stderr.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let size = world.place.read("model/model.safetensors")?.len();
    let told = events.iter().any(|event| {
        event["event"] == "download" && event["file"] == WEIGHTS && event["bytes"] == size && event["of"] == size
    });
    assert!(told, "{}", outcome.told());
    assert_eq!(world.place.json("out/adapter_config.json")?["base_model_name_or_path"], ID);
    let config = world.place.text("out/config.toml")?;
    assert!(config.contains(&format!("snapshots/{COMMIT}")), "a run can be run again on the same commit: {config}");
    let quiet = World::new()?;
    let outcome = quiet.run(&[], &crate::harness::train(&format!("--model {ID} --progress quiet")))?;
    assert_eq!((outcome.code, &outcome.stderr[..]), (Some(0), ""), "{}", outcome.told());
    Ok(())
}

#[test]
fn a_plain_eval_tells_people() -> Anyhow {
    let world = World::new()?;
    let outcome = world.evaluated(&[])?;
    let size = fs::metadata(world.place.path("model/model.safetensors"))?.len();
    for says in [
        &format!("fetching {ID}, commit {COMMIT}")[..],
        "model.safetensors  ",
        &format!(" of {:.1} kB", size as f64 / 1e3),
    ] {
        assert!(outcome.stderr.contains(says), "{says}\n{}", outcome.told());
    }
    Ok(())
}
