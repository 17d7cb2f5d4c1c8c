//! Prints what happens to containers, as it happens: creations, deletions, OOM kills.
//!
//! ```text
//! cargo run --example watch_events
//! ```
//!
//! To see an OOM kill (as root; cgroup v2): make a cgroup with `memory.max` of 8M and run
//! `tail /dev/zero` in it.

use cgauge::Monitor;
use cgauge::event::{EventKind, EventRequest};

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let monitor = Monitor::builder().start().await?;
    println!(
        "watching {} containers on cgroup {}",
        monitor.container_count(),
        monitor.mode()
    );

    let mut events = monitor.watch_events(EventRequest::everything());
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    print!("{} {}", event.kind.event_type(), event.container);
                    if let EventKind::OomKill(kill) = &event.kind {
                        print!(" pid {:?} {:?}", kill.pid, kill.process_name);
                    }
                    println!();
                }
                // We were too slow. What was missed is still in `monitor.past_events`.
                Some(Err(missed)) => println!("{missed}"),
                None => break,
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    monitor.shutdown().await;
    Ok(())
}
