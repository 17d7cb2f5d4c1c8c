//! CRI, as containerd serves it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cgauge::runtime::{CriLink, Endpoint, LinkState, Runtime, RuntimeStats, State};

use self::driver::Driver;
use super::containerd_host::{Containerd, IMAGE, K8S, needs_containerd};
use super::follow::{Followed, SLEEP, wait_for_sleep};
use crate::support::{SOON, shared, wait_until};

mod cost;
pub mod driver;

fn link(containerd: &Containerd) -> CriLink {
    let endpoint = Endpoint::Unix(containerd.socket());
    let prefixes = vec!["SHOWN_".to_owned()];
    let stats = Arc::new(RuntimeStats::default());
    CriLink::new(
        Runtime::Cri,
        endpoint,
        prefixes,
        Duration::from_secs(10),
        stats,
    )
}

#[test]
fn pods_before_us_and_after_us_until_they_are_removed() {
    needs_containerd!();
    let _machine = shared();
    let containerd = Containerd::start("cri", &[K8S]);
    let driver = Driver::connect(&containerd);
    let shop = driver.run_pod("shop", containerd.cgroup());
    let web = driver.run_container(&shop, "web", 2, SLEEP, 0);

    let followed = Followed::start(link(&containerd));
    followed.wait_connected();
    let (LinkState::Connected { version }, _) = followed.status.state() else {
        panic!("connected");
    };
    assert!(version.starts_with("containerd "), "{version}");
    let mut expected = vec![shop.id.clone(), web.clone()];
    expected.sort();
    assert_eq!(followed.living(), expected);

    let sandbox = followed.names.get(&shop.id).unwrap();
    assert!(sandbox.is_sandbox);
    assert_eq!(
        sandbox.name.as_deref(),
        Some("k8s_POD_shop_prod_uid-shop_0")
    );
    assert_eq!(sandbox.network_mode.as_deref(), Some("host"));
    assert_eq!(sandbox.state, Some(State::Running));
    let cgroup = format!("{}/{}", containerd.cgroup(), shop.id);
    assert_eq!(sandbox.cgroup.as_deref(), Some(cgroup.as_str()));

    let one = followed.names.get(&web).unwrap();
    assert_eq!(one.name.as_deref(), Some("k8s_web_shop_prod_uid-shop_2"));
    let pod = one.pod.as_ref().unwrap();
    assert_eq!(
        (
            pod.name.as_str(),
            pod.namespace.as_str(),
            pod.uid.as_str(),
            pod.container.as_deref()
        ),
        ("shop", "prod", "uid-shop", Some("web"))
    );
    assert!(!one.is_sandbox && one.in_own_cgroup());
    assert_eq!(one.restart_count, Some(2));
    assert_eq!(one.labels.get("app").map(String::as_str), Some("shop"));
    assert_eq!(
        one.annotations.get("team").map(String::as_str),
        Some("blue")
    );
    assert_eq!(one.env.get("SHOWN_ID").map(String::as_str), Some("7"));
    assert_eq!(one.env.len(), 1, "{:?}", one.env);
    let image = one.image.as_ref().unwrap();
    assert_eq!(image.reference, IMAGE);
    assert!(
        image.digest.as_ref().unwrap().starts_with("sha256:"),
        "{image:?}"
    );
    assert_eq!(one.storage_driver.as_deref(), Some("overlayfs"));
    assert_eq!(one.oci_runtime.as_deref(), Some("io.containerd.runc.v2"));
    assert_eq!(one.network_mode.as_deref(), Some("host"));
    let cgroup = format!("{}/{web}", containerd.cgroup());
    assert_eq!(one.cgroup.as_deref(), Some(cgroup.as_str()));
    assert!(one.created.unwrap() <= one.started.unwrap());
    wait_for_sleep(one.init_pid.unwrap());

    let made = Instant::now();
    let cart = driver.run_pod("cart", containerd.cgroup());
    let database = driver.run_container(&cart, "db", 0, SLEEP, 0);
    followed.wait(&database, "a container made after us", |one| {
        let complete = one.state == Some(State::Running) && one.init_pid.is_some();
        let placed = one.pod.as_ref()?.name == "cart" && one.cgroup.is_some();
        (complete && placed).then_some(())
    });
    let took = made.elapsed();
    assert!(
        took < Duration::from_secs(9),
        "events, not listings, told it: {took:?}"
    );

    driver.remove_container(&web);
    driver.remove_pod(&shop);
    let mut expected = vec![cart.id.clone(), database];
    expected.sort();
    wait_until(SOON, "the removed ones are gone", || {
        (followed.living() == expected).then_some(())
    });
    let gone = followed.names.get(&web).unwrap();
    assert_eq!(gone.pod.as_ref().unwrap().name, "shop");
}

#[test]
fn why_it_died_and_that_it_was_made_again() {
    needs_containerd!();
    let _machine = shared();
    let containerd = Containerd::start("cri-exit", &[K8S]);
    let driver = Driver::connect(&containerd);
    let followed = Followed::start(link(&containerd));
    followed.wait_connected();
    let pod = driver.run_pod("job", containerd.cgroup());
    let end = |id: &str| {
        followed.wait(id, "its end", |one| match &one.state {
            Some(State::Exited {
                code,
                reason,
                finished: Some(_),
            }) => Some((code.unwrap(), reason.clone().unwrap(), one.restart_count)),
            _ => None,
        })
    };
    let done = driver.run_container(&pod, "done", 0, "exit 0", 0);
    assert_eq!(end(&done), (0, "Completed".to_owned(), Some(0)));
    let first = driver.run_container(&pod, "work", 0, "exit 3", 0);
    assert_eq!(end(&first), (3, "Error".to_owned(), Some(0)));
    let second = driver.run_container(&pod, "work", 1, "exit 4", 0);
    assert_eq!(end(&second), (4, "Error".to_owned(), Some(1)));
    assert_eq!(followed.names.named("k8s_work_job_prod_uid-job_1").len(), 1);
    let eat = "x=0123456789abcdef; while :; do x=$x$x; done";
    let hungry = driver.run_container(&pod, "hungry", 0, eat, 16 << 20);
    followed.wait(&hungry, "the kernel killed it", |one| match &one.state {
        Some(State::Exited {
            code: Some(137),
            reason,
            ..
        }) => (reason.as_deref()? == "OOMKilled").then_some(()),
        _ => None,
    });
}

#[test]
fn a_restart_under_churn_loses_and_doubles_nothing() {
    needs_containerd!();
    let _machine = shared();
    let mut containerd = Containerd::start("cri-restart", &[K8S]);
    let driver = Driver::connect(&containerd);
    let pod = driver.run_pod("shop", containerd.cgroup());
    let stays = driver.run_container(&pod, "stays", 0, SLEEP, 0);
    let dies = driver.run_container(&pod, "dies", 0, SLEEP, 0);
    let followed = Followed::start(link(&containerd));
    followed.wait_connected();
    let before = followed.names.get(&stays).unwrap();
    let pid = followed.names.get(&dies).unwrap().init_pid.unwrap();
    let mut expected = vec![pod.id.clone(), stays.clone(), dies.clone()];
    drop(driver);

    for round in 0..3_u32 {
        containerd.stop();
        wait_until(SOON, "the link noticed", || {
            (followed.status.counts().failures > u64::from(round)).then_some(())
        });
        assert_eq!(followed.names.get(&stays).unwrap(), before);
        if round == 0 {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        containerd.run();
        let driver = Driver::connect(&containerd);
        let new = driver.run_container(&pod, &format!("new-{round}"), 0, SLEEP, 0);
        followed.wait(&new, "a new one runs", |one| {
            (one.state == Some(State::Running)).then_some(())
        });
        expected.push(new);
    }
    expected.sort();
    wait_until(SOON, "all that are there, each once", || {
        (followed.living() == expected).then_some(())
    });
    // How, only a shim that outlived it can tell: containerd 2 has none then and says 255.
    followed.wait(&dies, "it died meanwhile", |one| match one.state {
        Some(State::Exited { code, .. }) => matches!(code, Some(137 | 255)).then_some(()),
        _ => None,
    });
    assert_eq!(followed.names.get(&stays).unwrap(), before);
    wait_until(SOON, "one connection", || {
        (containerd.connections() == 1).then_some(())
    });
}
