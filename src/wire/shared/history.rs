//! Samples in a row, each with what its predecessor tells about it.

use serde::Serializer;
use serde::ser::SerializeSeq;

use super::Context;
use crate::cgroup::Sample;
use crate::query::{ContainerInfo, CpuCounters, CpuRates};

/// One sample of a history.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// Whose it is.
    pub info: &'a ContainerInfo,
    /// The sample.
    pub sample: &'a Sample,
    /// CPU use since the sample before it in the same answer.
    pub rates: Option<&'a CpuRates>,
    /// The rest of the world.
    pub context: Context<'a>,
}

/// Writes the samples of a container, oldest first, each as `element` does. They are unpacked one at
/// a time.
///
/// # Errors
/// What the serializer gives.
pub fn write<S: Serializer>(
    info: &ContainerInfo,
    context: Context<'_>,
    serializer: S,
    element: impl Fn(&mut S::SerializeSeq, Point<'_>) -> Result<(), S::Error>,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(info.stats.len()))?;
    let mut before: Option<CpuCounters> = None;
    info.stats.try_for_each(|sample| {
        let rates = before.as_ref().and_then(|before| before.rates_to(sample));
        before.get_or_insert_default().set(sample);
        element(
            &mut list,
            Point {
                info,
                sample,
                rates: rates.as_ref(),
                context,
            },
        )
    })?;
    list.end()
}
