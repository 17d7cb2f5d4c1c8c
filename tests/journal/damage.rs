//! A journal that is damaged, full, read-only or in use.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::*;
use crate::support::alone;

/// The newest segment of a state directory.
fn segment(state: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    files.sort();
    files.pop().expect("a segment")
}

#[test]
fn a_damaged_journal_costs_what_was_damaged() {
    needs_cgroups!();
    let _machine = shared();
    let place = Place::new();
    let home = home("damage");
    let mut agent = place.start();
    agent.wait_container(home.name());
    for n in 0..20 {
        fs::create_dir(home.path().join(format!("c{n}"))).unwrap();
        agent.wait_container(&format!("{}/c{n}", home.name()));
    }
    let before = remembered(&agent, home.name());
    agent.kill();
    (0..20).for_each(|n| fs::remove_dir(home.path().join(format!("c{n}"))).unwrap());
    let path = segment(&place.state());
    let whole = fs::read(&path).unwrap();

    // Cut in the middle of the last record. (At every byte of it: journal's own tests.)
    fs::write(&path, &whole[..whole.len() - 7]).unwrap();
    let mut agent = place.start();
    let after: Vec<_> = remembered(&agent, home.name())
        .into_iter()
        .take(before.len() - 1)
        .collect();
    assert_eq!(after, before[..before.len() - 1]);
    let log = agent.stderr();
    let shown = path.display().to_string();
    assert!(
        log.contains(&shown) && log.contains("are no whole record"),
        "{log}"
    );
    agent.kill();

    // From the middle of what is about ours on it is noise.
    let mut noise = whole.clone();
    let tenth = format!("{}/c10", home.name());
    let mut half = whole.windows(tenth.len());
    let half = half.position(|text| text == tenth.as_bytes()).unwrap();
    let mut dice = Dice::new();
    noise[half..]
        .iter_mut()
        .for_each(|byte| *byte = dice.below(256) as u8);
    fs::write(&path, &noise).unwrap();
    let mut agent = place.start();
    let after = remembered(&agent, home.name());
    let kept = before
        .iter()
        .take_while(|event| after.contains(event))
        .count();
    assert!((5..15).contains(&kept), "{kept} of {}", before.len());
    let page = agent.http().get("/metrics").unwrap().text();
    let lost = page
        .lines()
        .find(|line| line.starts_with("cgauge_journal_lost_bytes"));
    let lost: f64 = lost.unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    assert!(lost >= (whole.len() - half) as f64, "{lost}");
    agent.kill();

    // Nothing but noise.
    noise
        .iter_mut()
        .for_each(|byte| *byte = dice.below(256) as u8);
    fs::write(&path, &noise).unwrap();
    let agent = place.start();
    agent.wait_container(home.name());
    assert!(
        agent
            .http()
            .get("/validate")
            .unwrap()
            .text()
            .contains("Events are written to")
    );
}

#[test]
fn two_on_one_state_directory_are_told_apart() {
    needs_cgroups!();
    let _machine = shared();
    let place = Place::new();
    let agent = place.start();
    let socket = place.directory.path().join("other.sock");
    let (code, _, stderr) = run_to_end(&[
        "run",
        "--listen",
        &format!("unix:{}", socket.display()),
        "--state-dir",
        place.state().to_str().unwrap(),
    ]);
    assert_eq!(code, Some(1), "{stderr}");
    let holder = format!("in use by another cgauge (process {})", agent.pid());
    assert!(stderr.contains(&holder), "{stderr}");
}

/// A small tmpfs, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<Self, String> {
        fs::create_dir(at).unwrap();
        mount(
            Some("cgauge-test"),
            at,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=1m"),
        )
        .map_err(|error| format!("no tmpfs can be mounted: {error}"))?;
        Ok(Self(at.to_owned()))
    }

    fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.0.join("ballast")).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }

    fn read_only(&self, yes: bool) {
        let flags = if yes {
            MsFlags::MS_RDONLY
        } else {
            MsFlags::empty()
        };
        let none = None::<&str>;
        mount(none, &self.0, none, MsFlags::MS_REMOUNT | flags, none).expect("our own mount");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[track_caller]
fn wait_state(agent: &Agent, state: &str) {
    let line = format!("cgauge_journal_state{{state=\"{state}\"}} 1");
    wait_until(SOON, &format!("the journal is {state}"), || {
        let page = agent.http().get("/metrics").unwrap().text();
        page.lines().any(|known| known == line).then_some(())
    });
}

#[test]
fn a_full_disk_costs_nothing_that_fits_in_memory() {
    needs_cgroups!();
    // Events of other tests would fill the small disk, too.
    let _machine = alone();
    let place = Place::new();
    let disk = match SmallDisk::mount(&place.state()) {
        Ok(disk) => disk,
        Err(reason) => skip!("{reason}"),
    };
    let home = home("full");
    let mut agent = place.start();
    agent.wait_container(home.name());
    let make = |agent: &Agent, label: &str| {
        // More than what is left of the last page.
        for n in 0..40 {
            let name = format!("{label}{n}");
            fs::create_dir(home.path().join(&name)).unwrap();
            agent.wait_container(&format!("{}/{name}", home.name()));
            fs::remove_dir(home.path().join(&name)).unwrap();
        }
    };
    disk.fill();
    make(&agent, "while-full-");
    wait_state(&agent, "memory_only");
    let report = agent.http().get("/validate").unwrap().text();
    assert!(
        report.contains("in memory only") && report.contains("No space left"),
        "{report}"
    );
    wait_until(SOON, "all are shown all the same", || {
        (remembered(&agent, home.name()).len() == 1 + 2 * 40).then_some(())
    });
    disk.free();
    wait_state(&agent, "writing");
    make(&agent, "afterwards-");
    let all = wait_until(SOON, "all are shown", || {
        let all = remembered(&agent, home.name());
        (all.len() == 1 + 4 * 40).then_some(all)
    });
    let log = agent.stderr();
    assert_eq!(
        log.matches("the journal is in memory only").count(),
        1,
        "said once: {log}"
    );
    assert_eq!(
        log.matches("the journal is on disk again").count(),
        1,
        "{log}"
    );
    agent.kill();

    // To start on a full disk is no failure, and shows what is there.
    disk.fill();
    let mut agent = place.start();
    make(&agent, "started-full-");
    wait_state(&agent, "memory_only");
    assert!(remembered(&agent, home.name()).starts_with(&all));
    agent.kill();
    disk.free();

    // Nor is it on one that is read-only.
    disk.read_only(true);
    let mut agent = place.start();
    wait_state(&agent, "memory_only");
    assert!(remembered(&agent, home.name()).starts_with(&all));
    disk.read_only(false);
    wait_state(&agent, "writing");
    agent.stop();
    drop(agent);
    drop(disk);
}
