//! TensorBoard's event files: the scalars of a run as `tensorboard --logdir OUT` draws them while it goes on.
//!
//! A file is a sequence of records: the length of a message (u64), the masked CRC-32C of that, the message (`Event` of
//! `event.proto`), and its masked CRC-32C, all little-endian. The few fields used here are written by hand; a
//! protocol-buffer crate would be larger than all of this.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::trainer::StepReport;

/// CRC-32C (Castagnoli) of each byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// An event file under way.
#[derive(Debug)]
pub(super) struct Events {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Events {
    /// Begins a file in `folder`. `done` steps are in earlier files there; what those hold of later ones no longer counts.
    pub(super) fn begin(folder: &Path, done: u64) -> Result<Self, Error> {
        let now = now();
        let path = folder.join(format!("events.out.tfevents.{:.0}.{}.loract", now * 1e3, std::process::id()));
        let file = File::create(&path).map_err(|reason| Error::Write { path: path.clone(), reason })?;
        let mut events = Self { path, file: BufWriter::new(file) };
        events.record(&[fixed64(1, now), bytes(3, b"brain.Event:2")].concat())?;
        if done > 0 {
            const START: u64 = 1;
            let session = bytes(7, &varint(1, START));
            events.record(&[fixed64(1, now), varint(2, done + 1), session].concat())?;
        }
        Ok(events)
    }

    /// Adds what a step did, and hands it to the system.
    pub(super) fn step(&mut self, report: &StepReport) -> Result<(), Error> {
        let mut values = vec![
            ("train/loss", report.loss),
            ("train/learning_rate", report.lr),
            ("train/grad_norm", report.grad_norm),
            ("train/tokens_per_second", report.tokens as f64 / report.seconds),
            ("memory/peak_activation_bytes", report.peak_activation_bytes as f64),
        ];
        values.extend(report.site_error.map(|error| ("train/site_error", error)));
        self.record(&scalars(now(), report.step, &values))
    }

    /// Adds an evaluation after `step`, and hands it to the system.
    pub(super) fn evaluation(&mut self, step: u64, found: &Evaluation) -> Result<(), Error> {
        self.record(&scalars(now(), step, &found.scalars()))
    }

    fn record(&mut self, message: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(&record(message)).and_then(|()| self.file.flush());
        written.map_err(|reason| Error::Write { path: self.path.clone(), reason })
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn scalars(time: f64, step: u64, values: &[(&str, f64)]) -> Vec<u8> {
    let value = |(tag, value): &(&str, f64)| bytes(1, &[bytes(1, tag.as_bytes()), fixed32(2, *value as f32)].concat());
    let summary: Vec<u8> = values.iter().flat_map(value).collect();
    [fixed64(1, time), varint(2, step), bytes(5, &summary)].concat()
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), message, &masked(message)].concat()
}

fn masked(data: &[u8]) -> [u8; 4] {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| (crc >> 8) ^ TABLE[((crc ^ u32::from(byte)) & 0xff) as usize])
}

fn varint(field: u8, value: u64) -> Vec<u8> {
    [vec![field << 3], length(value)].concat()
}

fn fixed64(field: u8, value: f64) -> Vec<u8> {
    [&[field << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn fixed32(field: u8, value: f32) -> Vec<u8> {
    [&[field << 3 | 5][..], &value.to_le_bytes()].concat()
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &length(value.len() as u64), value].concat()
}

/// Seven bits a byte, the lowest first.
fn length(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// As the Python package tensorboard 2.21.0 writes the same events.
    #[test]
    fn records_are_those_of_tensorboard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let version = [fixed64(1, 1.5), bytes(3, b"brain.Event:2")].concat();
        assert_eq!(
            hex(&record(&version)),
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"
        );
        let values = scalars(1.5, 300, &[("train/loss", 0.25), ("train/grad_norm", -2.0)]);
        assert_eq!(
            hex(&record(&values)),
            "39000000000000008b0737f109000000000000f83f10ac022a2b0a110a0a747261696e2f6c6f7373150000803e0a160a0f747261696e2f\
             677261645f6e6f726d15000000c035100871"
        );
        let start = [fixed64(1, 1.5), varint(2, 7), bytes(7, &varint(1, 1))].concat();
        assert_eq!(hex(&record(&start)), "0f000000000000006d532b0909000000000000f83f10073a020801774771c7");
    }
}
