//! Every decomposition through the same properties, against naive oracles and NumPy's SVD.

mod adaptive;
mod contracts;
mod determinism;
mod golden;
mod harness;
mod low_rank;
mod orth;
mod properties;
mod reference;
mod svd;
mod warm;
