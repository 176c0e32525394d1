//! What the fuzz targets do with what was read, and the valid files that they start from.

pub mod checkpoint;
pub mod model;
pub mod picture;
pub mod rows;
pub mod seeds;

/// Keeps work on libFuzzer's own thread, so that an input gives the same coverage each time.
pub fn one_thread() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
        pool.build_global().expect("rayon has no threads before the first input");
    });
}
