//! Checkpoints whose checksums fit and whose contents lie.

use serde_json::{Value, json};

use crate::checkpoints::{FLAGS, interrupted};
use crate::damage::Tensors;
use crate::harness::{Anyhow, Place};

/// CRC-32 as in zip and PNG, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// Writes a file of `out/checkpoint-4` with its checksum.
fn forge(place: &Place, name: &str, bytes: &[u8]) -> Anyhow {
    place.write(&format!("out/checkpoint-4/{name}"), bytes)?;
    let sums = place.text("out/checkpoint-4/checksums.txt")?;
    let line = |line: &str| match line.rsplit(' ').next() {
        Some(listed) if listed == name => format!("{:08x} {} {name}\n", crc(bytes), bytes.len()),
        _ => format!("{line}\n"),
    };
    place.write("out/checkpoint-4/checksums.txt", sums.lines().map(line).collect::<String>())
}

#[test]
fn checksums_are_those_of_zip_and_png() -> Anyhow {
    let place = interrupted()?;
    assert_eq!(crc(b"123456789"), 0xcbf4_3926);
    let before = place.text("out/checkpoint-4/checksums.txt")?;
    forge(&place, "optimizer.safetensors", &place.read("out/checkpoint-4/optimizer.safetensors")?)?;
    assert_eq!(place.text("out/checkpoint-4/checksums.txt")?, before);
    Ok(())
}

#[test]
fn a_checkpoint_that_lies_is_refused_by_name() -> Anyhow {
    const NUMBERS: &str = "optimizer.safetensors";
    type Change = fn(&mut Value);
    type Forge = fn(Vec<u8>) -> Anyhow<Vec<u8>>;
    let numbers: [(&str, Forge, &str); 5] = [
        (
            "header beyond the file",
            |mut b| {
                b[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
                Ok(b)
            },
            "eader",
        ),
        (
            "header of all",
            |mut b| {
                b[..8].fill(255);
                Ok(b)
            },
            "eader",
        ),
        ("nothing", |_| Ok(Vec::new()), "eader"),
        (
            "other shapes",
            |b| {
                let mut tensors = Tensors::read(&b)?;
                let first = tensors.names()[0].to_owned();
                tensors.turn(&first);
                tensors.to_bytes()
            },
            "expected",
        ),
        (
            "fewer tensors",
            |b| {
                let mut tensors = Tensors::read(&b)?;
                let first = tensors.names()[0].to_owned();
                tensors.drop_tensor(&first);
                tensors.to_bytes()
            },
            "no tensor exp_avg.",
        ),
    ];
    for (name, change, says) in numbers {
        let place = interrupted()?;
        let bytes = change(place.read(&format!("out/checkpoint-4/{NUMBERS}"))?)?;
        forge(&place, NUMBERS, &bytes)?;
        let outcome = place.train(&format!("{FLAGS} --resume"))?;
        assert_eq!(outcome.complaint(2, &["out/checkpoint-4/optimizer.safetensors", says]), None, "{name}");
    }
    let record: [(&str, Change, &str); 5] = [
        ("place in the data", |r| r["rows_taken"] = json!(u64::MAX), "18446744073709551615 rows taken after 4 steps"),
        ("other format", |r| r["format"] = json!(2), "format 2"),
        ("basis that is not there", |r| r["remembered"] = lie(1 << 40), "no tensor basis.0.norm.0"),
        (
            "site that is none",
            |r| r["remembered"] = json!([{ "layer": 0, "site": "x", "ordinal": 0, "rank": 3, "basis": null }]),
            "unknown site `x`",
        ),
        (
            "rank of nothing",
            |r| r["remembered"] = json!([{ "layer": 0, "site": "norm", "ordinal": 0, "rank": 0, "basis": null }]),
            "rank",
        ),
    ];
    for (name, change, says) in record {
        let place = interrupted()?;
        let mut record = place.json("out/checkpoint-4/checkpoint.json")?;
        change(&mut record);
        forge(&place, "checkpoint.json", record.to_string().as_bytes())?;
        let outcome = place.train(&format!("{FLAGS} --resume"))?;
        assert_eq!(outcome.complaint(2, &["out/checkpoint-4/", says]), None, "{name}");
    }
    // What cannot be read as a checkpoint's record is damage, and passed over.
    for text in ["{}", "[]", "null", "{\"format\":1}", "\u{0}"] {
        let place = interrupted()?;
        forge(&place, "checkpoint.json", text.as_bytes())?;
        let outcome = place.train(&format!("{FLAGS} --resume"))?;
        let told = outcome.stderr.contains("checkpoint-4/checkpoint.json");
        assert!(told && outcome.code.is_some_and(|code| code == 0 || code == 2), "{text}: {}", outcome.told());
    }
    Ok(())
}

/// A basis of k×2 that nobody wrote.
fn lie(rank: u64) -> Value {
    json!([{ "layer": 0, "site": "norm", "ordinal": 0, "rank": null, "basis": { "rank": rank, "cols": 2, "error": 0.1 } }])
}

#[test]
fn a_place_in_the_data_that_no_run_gets_to_is_refused() -> Anyhow {
    let flags = format!("{FLAGS} --packing --seq-len 20");
    let place = Place::with("llama-tied")?;
    place.trained(&format!("{flags} --out whole"))?;
    // Packed rows: between one and forty for each of the four steps.
    for rows in [3, 161, u64::MAX] {
        place.copy("whole/checkpoint-4", "out/checkpoint-4")?;
        let mut record = place.json("out/checkpoint-4/checkpoint.json")?;
        record["rows_taken"] = json!(rows);
        forge(&place, "checkpoint.json", record.to_string().as_bytes())?;
        let outcome = place.train(&format!("{flags} --resume"))?;
        let says =
            format!("checkpoint-4/checkpoint.json: {rows} rows taken after 4 steps: not written by this program");
        assert_eq!(outcome.complaint(2, &[&says]), None, "{rows}");
    }
    Ok(())
}
