//! The files of a checkpoint, from which a run of a tiny model goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    loract_fuzz::one_thread();
    loract_fuzz::checkpoint::drive(input);
});
