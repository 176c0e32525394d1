//! Tests of the tape through its public interface: each op's forward and gradients against an f64 oracle, exactly kept
//! and compressed; what each form keeps, reports and counts; what is shared and recomputed; and what is refused.

mod again;
mod attention;
mod background;
mod decoder;
mod errors;
mod expert;
mod experts;
mod factored;
mod forms;
mod golden;
mod harness;
mod head;
mod history;
mod hollow;
mod kept;
mod kernels;
mod norms;
mod ops;
mod profile;
mod quantise;
mod reported;
mod saved;
mod segments;
mod sharing;
mod simple;
mod threads;
mod vision;
mod vision_op;
mod windows;
