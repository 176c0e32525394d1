//! `loract demo`.

use anyhow::Result;

use crate::args::{DemoArgs, use_threads};

/// x
pub fn run(args: &DemoArgs) -> Result<()> {
    use_threads(args.threads)?;
    Ok(())
}
