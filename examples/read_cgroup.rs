//! Reads one cgroup, once, and prints what is known about it: the `cgroup` stage on its own.
//!
//! ```text
//! cargo run --example read_cgroup -- /system.slice
//! ```

use std::path::Path;
use std::sync::Arc;

use cgauge::cgroup::file::FdBudget;
use cgauge::cgroup::network::NetworkNamespaces;
use cgauge::cgroup::plan::{Plan, ReadOptions};
use cgauge::cgroup::{Cgroup, ContainerName, Hierarchies, ReadContext, Sample};

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "/".to_owned());
    let name = ContainerName::from_request(&name);
    let procfs = Path::new("/proc");

    let hierarchies = Arc::new(Hierarchies::detect(procfs, Path::new("/"), None)?);
    let options = ReadOptions {
        per_cpu: true,
        network: true,
        ..ReadOptions::default()
    };
    let plan = Arc::new(Plan::new(Arc::clone(&hierarchies), &options));
    let mut cgroup = Cgroup::new(name.clone(), plan, Arc::new(FdBudget::of(64)));
    let mut found = false;
    for (id, _) in hierarchies.iter() {
        found |= cgroup.attach(id, None).is_ok();
    }
    if !found {
        return Err(format!("there is no cgroup {name}").into());
    }

    let mut context = ReadContext::new(Arc::new(NetworkNamespaces::new(procfs)));
    let mut sample = Sample::default();
    cgroup.read(&mut context, &mut sample);
    println!("{name} on cgroup {}", hierarchies.mode);
    println!("{:#?}", cgroup.read_spec(&mut context));
    println!("{sample:#?}");
    Ok(())
}
