//! A PNG or JPEG file, decoded and made to the numbers that a model takes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| loract_fuzz::picture::drive(input));
