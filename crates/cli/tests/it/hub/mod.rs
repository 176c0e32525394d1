//! Models by their id, from a hub on the loopback interface. The real one is never asked.

mod cache;
mod lines;
mod place;
mod refusals;
mod server;
