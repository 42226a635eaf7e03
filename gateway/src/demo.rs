//! placeholder
use clap::Args;
/// demo
#[derive(Debug, Args)]
pub struct Demo {}
impl Demo {
    pub(crate) fn execute(self) -> anyhow::Result<()> {
        Ok(())
    }
}
