//! Arguments of `loract report`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders that `loract train` wrote (--out), of one run or of several to compare
    #[arg(value_name = "DIR", required = true)]
    pub runs: Vec<PathBuf>,
    /// The page [default: report.html in the run's folder; with several runs it must be given]
    #[arg(long, value_name = "FILE.html")]
    pub out: Option<PathBuf>,
}
