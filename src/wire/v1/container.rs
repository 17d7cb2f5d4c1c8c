//! `ContainerInfo`: the answer of `containers` and `subcontainers`.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::spec::ContainerSpec;
use super::stats::ContainerStats;
use crate::cgroup::ContainerName;
use crate::query;
use crate::wire::object::{objects, unless_empty};
use crate::wire::shared::identity::Aliases;
use crate::wire::shared::name::Name;
use crate::wire::shared::{Context, history};

objects! {
    /// A container with its history.
    pub struct ContainerInfo<'a>((&'a query::ContainerInfo, Context<'a>)) |view| {
        "id" => view.0.identity.as_ref().map(|identity| identity.id.as_str()),
        "name" => Some(Name(&view.0.name)),
        "aliases" => view.0.identity.as_deref().map(Aliases),
        "namespace" => view.0.identity.as_ref().map(|identity| identity.runtime.namespace()),
        "subcontainers" => unless_empty(&view.0.subcontainers).map(References),
        "spec" => Some(ContainerSpec(view)),
        "stats" => (!view.0.stats.is_empty()).then_some(History(view)),
    }

    struct Reference<'a>(&'a ContainerName) |name| {
        "name" => Some(Name(name)),
    }
}

struct References<'a>(&'a [ContainerName]);

impl Serialize for References<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Reference))
    }
}

/// Samples, oldest first.
struct History<'a>((&'a query::ContainerInfo, Context<'a>));

impl Serialize for History<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (info, context) = self.0;
        history::write(info, context, serializer, |list, point| {
            list.serialize_element(&ContainerStats(point))
        })
    }
}
