#![allow(clippy::unwrap_used)]

use super::*;
use crate::runtime::{Image, Runtime};

const ID: &str = "6bb9be375ebd1e839c247dd4b7cfda520873ee770be37bb7084031847b25fcd4";

fn text(labels: &LabelSet) -> String {
    let mut out = Vec::new();
    labels.base.write(&mut out, &[]);
    String::from_utf8(out).unwrap()
}

fn docker(labels: &[(&str, &str)]) -> Identity {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Identity {
        name: Some("web".into()),
        image: Some(Image {
            reference: "sample/busybox:1".into(),
            digest: None,
        }),
        labels: labels.iter().map(own).collect(),
        ..Identity::new(Runtime::Docker, ID)
    }
}

fn base(identity: &Identity, choice: &LabelChoice) -> String {
    let name = ContainerName::from_request(&format!("/docker/{ID}"));
    text(&LabelSet::of(&name, Some(identity), None, choice))
}

#[test]
fn the_labels_of_a_docker_container_are_those_that_dashboards_know() {
    // As in the samples of the older monitor.
    let identity = docker(&[("app.kubernetes.io/name", "web"), ("tier", "front")]);
    assert_eq!(
        base(&identity, &LabelChoice::default()),
        format!(
            r#"container_label_app_kubernetes_io_name="web",container_label_tier="front",id="/docker/{ID}",image="sample/busybox:1",name="web""#
        )
    );
    let none = LabelChoice {
        all: false,
        allowed: Vec::new(),
    };
    assert!(!base(&identity, &none).contains("container_label"));
    let one = LabelChoice {
        allowed: vec!["tier".into(), "restartcount".into(), "nosuch".into()],
        ..none
    };
    let restarted = Identity {
        restart_count: Some(2),
        ..identity.clone()
    };
    assert!(
        base(&restarted, &one)
            .starts_with(r#"container_label_restartcount="2",container_label_tier="front",id="#)
    );
    // A label that changes with every restart makes new series: not unless asked for.
    assert!(!base(&restarted, &LabelChoice::default()).contains("restartcount"));
}

#[test]
fn hostile_labels_are_tamed() {
    let long = "x".repeat(5_000);
    let identity = docker(&[
        ("a b", "1"),
        ("a.b", "2"),
        ("a_b", "3"),
        ("\u{e9}t\u{e9}", "q\"\\\n"),
        ("empty", ""),
        ("long", &long),
    ]);
    let found = base(&identity, &LabelChoice::default());
    assert!(
        found.starts_with(
            r#"container_label__t_="q\"\\\n",container_label_a_b="1",container_label_long="x"#
        ),
        "{found}"
    );
    assert!(!found.contains("empty"));
    assert!(found.contains(&format!("=\"{}\"", "x".repeat(MAX_LABEL_VALUE))));
    let many: Vec<(String, String)> = (0..500).map(|at| (format!("k{at}"), "v".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (&**k, &**v)).collect();
    let found = base(&docker(&many), &LabelChoice::default());
    assert_eq!(found.matches("container_label_").count(), MAX_LABELS);
    // A character that is cut in two.
    let wide = "\u{20ac}".repeat(1_000);
    let found = base(&docker(&[("w", &wide)]), &LabelChoice::default());
    assert!(found.contains(&format!("\"{}\"", "\u{20ac}".repeat(341))));
}

#[test]
fn environments_and_annotations() {
    let mut identity = docker(&[]);
    identity.env.insert("TEST_VAR".into(), "FOO".into());
    let annotation = |key: &str| (key.to_owned(), "v".to_owned());
    identity
        .annotations
        .extend([annotation("team/owner"), annotation("secret")]);
    let choice = LabelChoice {
        allowed: vec!["team/owner".into()],
        ..LabelChoice::default()
    };
    assert!(base(&identity, &choice).contains(r#"container_env_test_var="FOO""#));
    let name = ContainerName::from_request(&format!("/docker/{ID}"));
    let info = LabelSet::of(&name, Some(&identity), None, &choice).info;
    let names: Vec<&str> = info.iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        names,
        [
            "container_annotation_team_owner",
            "container_id",
            "kind",
            "runtime"
        ]
    );
}

#[test]
fn pods_label_their_own_cgroup_and_their_containers_and_nothing_inside_of_these() {
    let pod = Pod {
        name: "front".into(),
        namespace: "shop".into(),
        uid: "1b9f2e0a".into(),
        container: Some("web".into()),
    };
    let of = |path: &str, pod: &Pod| {
        let name = ContainerName::from_request(path);
        text(&LabelSet::of(
            &name,
            None,
            Some(pod),
            &LabelChoice::default(),
        ))
    };
    let sandbox = Pod {
        container: None,
        ..pod.clone()
    };
    let at = format!("/kubepods/pod1b9f2e0a/{ID}");
    assert_eq!(
        of(&at, &pod),
        format!(r#"container="web",id="{at}",namespace="shop",pod="front""#)
    );
    assert_eq!(
        of("/kubepods/pod1b9f2e0a", &sandbox),
        r#"id="/kubepods/pod1b9f2e0a",namespace="shop",pod="front""#
    );
    let inside = format!("{at}/init.scope");
    assert_eq!(of(&inside, &pod), format!(r#"id="{inside}""#));
}

#[test]
fn labels_are_made_once_and_again_when_the_identity_changes() {
    let cache = LabelCache::default();
    let name = ContainerName::from_request(&format!("/docker/{ID}"));
    let other = ContainerName::from_request("/other");
    let look = |identity: Option<&Arc<Identity>>| {
        cache.round(&LabelChoice::default(), |labels| {
            (labels(&name, identity, None), labels(&other, None, None))
        })
    };
    let (first, other_first) = look(None);
    let (second, other_second) = look(None);
    assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&other_first, &other_second));
    let identity = Arc::new(docker(&[]));
    let (named, other_third) = look(Some(&identity));
    assert!(text(&named).ends_with(r#"name="web""#));
    assert!(Arc::ptr_eq(&other_first, &other_third));
    assert!(Arc::ptr_eq(&named, &look(Some(&identity)).0));
    cache.round(&LabelChoice::default(), |_| ());
    assert!(cache.0.lock().known.is_empty());
}
