//! A byte that says how, and a file of rows: read, laid out in batches, and evaluated by a tiny model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loract_fuzz::rows::Way;

fuzz_target!(|input: &[u8]| {
    loract_fuzz::one_thread();
    let Some((&how, file)) = input.split_first() else { return };
    Way::of(how).drive(file);
});
