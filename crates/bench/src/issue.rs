//! stub
use crate::Scale;
use crate::report::Report;
use anyhow::Result;
pub(crate) fn run(_: &mut Report, _: Scale) -> Result<()> {
    Ok(())
}
