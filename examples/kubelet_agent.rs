//! A kubelet-like agent: embeds the monitor and asks it everything that a kubelet asks.
//!
//! ```text
//! cargo run --example kubelet_agent
//! ```

use std::path::Path;
use std::time::Duration;

use cgauge::Monitor;
use cgauge::cgroup::{ContainerName, Sample};
use cgauge::event::{EventRequest, EventType};
use cgauge::query::{InfoRequest, RequestOptions};

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A kubelet wants fresh figures when it asks, and little polling in between.
    let monitor = Monitor::builder()
        .housekeeping_interval(Duration::from_secs(10))
        .start()
        .await?;

    // What this node is, for its status.
    let machine = monitor.machine_info();
    let version = monitor.version_info();
    println!("memory: {:?} bytes", machine.memory.memory_bytes);
    println!(
        "kernel {:?}, {:?}, cgauge {}",
        version.kernel, version.os, version.cgauge
    );

    // How full its file systems are, for eviction.
    match monitor.root_fs_info().await {
        Ok(root) => println!(
            "{}: {} of {} bytes used",
            root.device, root.usage_bytes, root.capacity_bytes
        ),
        Err(error) => println!("root file system: {error}"),
    }
    match monitor.fs_info("root").await {
        Ok(found) => println!("{} file systems are labelled root", found.len()),
        Err(error) => println!("label root: {error}"),
    }
    match monitor.dir_fs_info(Path::new("/var/lib")).await {
        Ok(found) => println!("/var/lib is on {}", found.device),
        Err(error) => println!("/var/lib: {error}"),
    }

    // The node's own usage.
    let root = ContainerName::root();
    let newest = InfoRequest {
        num_stats: Some(1),
        ..InfoRequest::default()
    };
    let info = monitor.container_info(&root, &newest).await?;
    if let Some(latest) = &info.latest {
        println!("{}: {}", info.name, usage(latest));
    }

    // Pods and containers, from the history.
    for info in monitor
        .subcontainers_info(&root, &InfoRequest::default())
        .await?
    {
        println!("  {} has {} samples", info.name, info.stats.len());
    }

    // The same, but not older than half a second: polled now if need be.
    let fresh = RequestOptions {
        count: Some(1),
        recursive: true,
        max_age: Some(Duration::from_millis(500)),
    };
    for info in monitor.container_info_v2(&root, &fresh).await? {
        if let Some(latest) = &info.latest {
            println!("  {}: {}", info.name, usage(latest));
        }
    }

    // OOM events, past and to come.
    let types = vec![EventType::Oom, EventType::OomKill];
    let ooms = EventRequest {
        types,
        ..EventRequest::everything()
    };
    println!("{} OOM events so far", monitor.past_events(&ooms).len());
    let mut events = monitor.watch_events(ooms);
    println!("waiting three seconds for an OOM kill");
    match tokio::time::timeout(Duration::from_secs(3), events.next()).await {
        Ok(Some(Ok(event))) => println!("{} in {}", event.kind.event_type(), event.container),
        _ => println!("none: all is well"),
    }

    monitor.shutdown().await;
    Ok(())
}

/// A figure that the kernel does not give is unknown, not zero.
fn usage(sample: &Sample) -> String {
    let show =
        |figure: Option<u64>| figure.map_or("unknown".to_owned(), |figure| figure.to_string());
    format!(
        "{} ns of CPU, {} bytes of working set",
        show(sample.cpu.usage_ns),
        show(sample.memory.working_set_bytes())
    )
}
