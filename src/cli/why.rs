//! The client behind `cgauge why`: asks a running cgauge what happened to a container.

use std::io::Write;

use anyhow::{Context, bail};
use cgauge::config::{Config, WhyArgs};
use http_body_util::{BodyExt, Limited};

use super::event_line::printable;
use super::events::{ANSWER_TIMEOUT, get, refusal};
use super::report::quiet_pipe;
use super::request::{encoded, server_at};
use super::why_text::{Life, Text};

/// The longest answer that is taken.
const MAX_LIST_BYTES: usize = 256 * 1024 * 1024;

/// Prints what happened to the containers that are meant.
pub async fn run(args: &WhyArgs, config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
    let server = server_at(args.server.as_deref(), config)?;
    let shown = &server.address;
    let path = format!(
        "{}/api/cgauge/v1/ledger?max=-1&name={}",
        server.prefix,
        encoded(&args.name)
    );
    let asked = async {
        let response = get(shown, &path).await?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(refusal(response, shown, &path).await),
        }
    };
    let response = tokio::time::timeout(ANSWER_TIMEOUT, asked)
        .await
        .with_context(|| {
            let seconds = ANSWER_TIMEOUT.as_secs();
            format!("no answer from {shown} within {seconds} s")
        })??;
    let body = Limited::new(response.into_body(), MAX_LIST_BYTES)
        .collect()
        .await;
    let body = body.map_err(|error| anyhow::anyhow!("{shown} broke off its answer: {error}"))?;
    let lives: Vec<serde_json::Value> = serde_json::from_slice(&body.to_bytes())
        .with_context(|| format!("{shown} does not answer with a list of containers"))?;
    let lives = meant(lives, args);
    if lives.is_empty() {
        bail!(
            "{shown} knows of no container called {}: it is not there, and if it was, its record is no longer kept (--ledger-retention)",
            printable(&args.name)
        );
    }
    quiet_pipe(print(&lives, args.json, out)?)?;
    Ok(())
}

/// Of those whose names begin so, the ones that are called exactly so if there are any.
fn meant(mut lives: Vec<serde_json::Value>, args: &WhyArgs) -> Vec<serde_json::Value> {
    let is_exact = |life: &serde_json::Value| {
        let identity = &life["identity"];
        [
            &life["container"],
            &life["workload"],
            &identity["name"],
            &identity["id"],
        ]
        .iter()
        .any(|name| name.as_str() == Some(args.name.trim_end_matches('/')))
    };
    if lives.iter().any(is_exact) {
        lives.retain(is_exact);
    }
    lives.truncate(usize::try_from(args.max).unwrap_or(usize::MAX));
    lives
}

/// An error of `out` is inside, one of the answer outside.
fn print(
    lives: &[serde_json::Value],
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<std::io::Result<()>> {
    for (number, life) in lives.iter().enumerate() {
        let text = if json {
            life.to_string()
        } else {
            let life = serde_json::from_value::<Life>(life.clone())
                .context("the server sent something that is no container's life")?;
            let gap = if number > 0 { "\n" } else { "" };
            format!("{gap}{}", Text(&life))
        };
        if let Err(error) = writeln!(out, "{}", text.trim_end_matches('\n')) {
            return Ok(Err(error));
        }
    }
    Ok(out.flush())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn args(name: &str) -> WhyArgs {
        WhyArgs {
            name: name.into(),
            max: 2,
            json: false,
            server: None,
        }
    }

    #[test]
    fn an_exact_name_is_preferred_to_those_that_begin_so() {
        let lives = vec![
            json!({"container": "/a/b"}),
            json!({"container": "/a", "number": 3}),
            json!({"container": "/a", "number": 2}),
            json!({"container": "/a", "number": 1}),
        ];
        let exact = meant(lives.clone(), &args("/a"));
        assert_eq!(exact.len(), 2, "the newest so many");
        assert!(exact.iter().all(|life| life["container"] == "/a"));
        assert_eq!(meant(lives, &args("/")).len(), 2);
    }
}
