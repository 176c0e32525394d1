//! Rows of a micro-batch are its sequences end to end.

use std::ops::Range;

use crate::error::{Error, same};

/// That `sequences` are row ranges without gaps, none empty, that cover `rows` rows.
pub(super) fn end_to_end(op: &'static str, sequences: &[Range<usize>], rows: usize) -> Result<(), Error> {
    let mut end = 0;
    for sequence in sequences {
        same(op, "start of a sequence against the end of the one before", sequence.start, end)?;
        if sequence.is_empty() {
            let (left, right) = (sequence.end, sequence.start);
            return Err(Error::Shape { op, what: "end of a sequence against its start", left, right });
        }
        end = sequence.end;
    }
    same(op, "rows covered by sequences", end, rows)
}
