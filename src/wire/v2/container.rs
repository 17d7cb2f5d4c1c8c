//! Containers with their histories.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::spec::ContainerSpec;
use super::stats::{ContainerStats, DeprecatedContainerStats, MachineStats};
use crate::query;
use crate::wire::object::objects;
use crate::wire::shared::{Context, history};

/// A container as it is known, and what its view needs beside it.
type Known<'a> = (&'a query::ContainerInfo, Context<'a>);

objects! {
    /// A container as v2.1 tells it.
    pub struct ContainerInfo<'a>(Known<'a>) |view| {
        "spec" => Some(ContainerSpec(view)),
        "stats" => (!view.0.stats.is_empty()).then_some(History(view)),
    }
}

/// Declares lists of samples, each written as the given view.
macro_rules! histories {
    ($($(#[$attribute:meta])* $vis:vis struct $name:ident($view:ident);)+) => {$(
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy)]
        $vis struct $name<'a>(pub Known<'a>);

        impl Serialize for $name<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let (info, context) = self.0;
                history::write(info, context, serializer, |list, point| {
                    list.serialize_element(&$view(point))
                })
            }
        }
    )+};
}

histories! {
    /// The samples of v2.1.
    struct History(ContainerStats);

    /// The answer of v2.0 for one container: its samples.
    pub struct DeprecatedHistory(DeprecatedContainerStats);

    /// The answer of `machinestats`: the samples of `/`.
    pub struct MachineHistory(MachineStats);
}
