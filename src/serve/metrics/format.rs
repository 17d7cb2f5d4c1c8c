//! Which of the formats a client wants (RFC 9110, 12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

/// A format of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics text 1.0.
    OpenMetrics,
    /// Prometheus protobuf, delimited.
    Protobuf,
}

impl Format {
    /// All of them; of two that a client likes equally, the earlier one is sent.
    pub const ALL: [Self; 3] = [Self::Protobuf, Self::OpenMetrics, Self::Text];

    /// The content type of an answer.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// What the client of this request likes best. Who likes none of them gets text, which anyone can
    /// read: so do browsers, and everything that sends no `Accept`.
    pub fn wanted(request: &HeaderMap) -> Self {
        let mut best = (0, Self::Text);
        for line in request.get_all(ACCEPT) {
            for item in line.to_str().unwrap_or("").split(',') {
                if let Some((weight, format)) = offer(item)
                    && (weight > best.0 || (weight == best.0 && rank(format) < rank(best.1)))
                {
                    best = (weight, format);
                }
            }
        }
        best.1
    }
}

fn rank(format: Format) -> Option<usize> {
    Format::ALL.iter().position(|&known| known == format)
}

/// One element of `Accept`: its weight in thousandths, and the format that it means. `None` if it
/// is none of ours, or not acceptable.
fn offer(item: &str) -> Option<(u16, Format)> {
    let mut parts = item.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let (mut weight, mut version, mut proto, mut encoding) = (1000, None, None, None);
    for part in parts {
        let Some((name, value)) = part.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => {
                let q: f32 = value.parse().unwrap_or(0.0);
                weight = (q.clamp(0.0, 1.0) * 1000.0).round() as u16;
            }
            "version" => version = Some(value),
            "proto" => proto = Some(value),
            "encoding" => encoding = Some(value),
            _ => {}
        }
    }
    let format = match &*media {
        "application/openmetrics-text" if matches!(version, None | Some("1.0.0" | "0.0.1")) => {
            Format::OpenMetrics
        }
        "application/vnd.google.protobuf"
            if proto == Some("io.prometheus.client.MetricFamily")
                && encoding == Some("delimited") =>
        {
            Format::Protobuf
        }
        "text/plain" if matches!(version, None | Some("0.0.4")) => Format::Text,
        "text/*" | "*/*" => Format::Text,
        _ => return None,
    };
    (weight > 0).then_some((weight, format))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn negotiation() {
        use Format::{OpenMetrics, Protobuf, Text};
        const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = format!(
            "{PROTOBUF};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        for (header, want) in [
            ("", Text),
            ("*/*", Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Text),
            ("application/json", Text),
            (prometheus_2, OpenMetrics),
            (&prometheus_3, Protobuf),
            (
                "text/plain;version=0.0.4;q=0.3,application/openmetrics-text;q=0.2",
                Text,
            ),
            ("text/plain,application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Text),
            ("application/openmetrics-text; q=0", Text),
            ("application/openmetrics-text;q=x,text/plain;q=0.1", Text),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"",
                OpenMetrics,
            ),
            ("application/vnd.google.protobuf", Text),
            (&format!("text/plain;q=0.9,{PROTOBUF}"), Protobuf),
            (&format!("{PROTOBUF};q=0.1,text/plain;q=0.9"), Text),
            (";;,=,q", Text),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, header.parse().unwrap());
            assert_eq!(Format::wanted(&headers), want, "{header}");
        }
        assert_eq!(Format::wanted(&HeaderMap::new()), Text);
    }
}
