//! `/openapi.json`: every route and parameter, made from the same tables that answer.

use serde_json::{Map, Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer;
use super::api::{Kind, VERSIONS, Version};

/// `/openapi.json`.
pub(super) fn routes() -> BoxedFilter<(Response,)> {
    warp::path!("openapi.json")
        .and(warp::header::headers_cloned())
        .map(|headers| answer::value(&headers, &description()))
        .boxed()
}

/// A parameter: name, schema, meaning.
type Parameter = (&'static str, Schema, &'static str);

/// What a parameter may be.
#[derive(Debug, Clone, Copy)]
enum Schema {
    /// A boolean; anything else counts as not given.
    Flag,
    /// Exactly `true`; anything else counts as not given.
    True,
    Count,
    /// A count; anything else counts as not given.
    LenientCount,
    Duration,
    /// A time; anything else counts as not given.
    LenientTime,
    Time,
    Text,
    /// Not negative.
    Number,
    /// In the series of events.
    Position,
    OneOf(&'static [&'static str]),
}

impl Schema {
    fn json(self) -> Value {
        let text = json!({"type": "string"});
        // Given but empty is not given.
        let not_given = json!({"const": ""});
        match self {
            Self::Flag => json!({"anyOf": [{"type": "boolean"}, text]}),
            Self::True => json!({"anyOf": [{"const": "true"}, text]}),
            Self::LenientCount => json!({"anyOf": [Self::Count.json(), text]}),
            Self::LenientTime => {
                json!({"anyOf": [{"type": "string", "format": "date-time"}, text]})
            }
            Self::Count => json!({"anyOf": [
                {"type": "integer", "minimum": -1, "format": "int64"},
                not_given,
            ]}),
            Self::Duration => {
                json!({"anyOf": [
                    {"type": "string", "pattern": "^[+-]?([0-9]{1,6}([.][0-9]{1,3})?(ns|us|ms|s|m|h)){1,2}$"},
                    {"const": 0},
                    not_given,
                ], "example": "5s"})
            }
            Self::Text => text,
            Self::OneOf(values) => {
                json!({"anyOf": [{"type": "string", "enum": values}, not_given]})
            }
            Self::Time => json!({"type": "string", "format": "date-time"}),
            Self::Number => json!({"type": "integer", "minimum": 0, "format": "int64"}),
            Self::Position => json!({"type": "string", "pattern": "^([0-9a-f]{16}-)?[0-9]{1,19}$"}),
        }
    }
}

/// Of every type of request of API v2.
const COMMON: [Parameter; 4] = [
    (
        "type",
        Schema::OneOf(&["name", "docker", "podman"]),
        "How containers are named.",
    ),
    (
        "count",
        Schema::Count,
        "The newest so many samples; -1 for all. 64 if not given.",
    ),
    ("recursive", Schema::True, "Also everything below."),
    (
        "max_age",
        Schema::Duration,
        "Poll what was polled longer ago.",
    ),
];

const EVENTS: [Parameter; 10] = [
    (
        "stream",
        Schema::Flag,
        "Future events, one JSON object a line, until the client goes.",
    ),
    ("subcontainers", Schema::Flag, "Also of containers below."),
    ("oom_events", Schema::Flag, "Events of type oom."),
    ("oom_kill_events", Schema::Flag, "Events of type oomKill."),
    (
        "creation_events",
        Schema::Flag,
        "Events of type containerCreation.",
    ),
    (
        "deletion_events",
        Schema::Flag,
        "Events of type containerDeletion.",
    ),
    ("all_events", Schema::Flag, "Events of all types."),
    (
        "max_events",
        Schema::LenientCount,
        "The newest so many; -1 for all. 10 if not given.",
    ),
    (
        "start_time",
        Schema::LenientTime,
        "Not before this time. Not with stream.",
    ),
    (
        "end_time",
        Schema::LenientTime,
        "Not after this time. Not with stream.",
    ),
];

const STORAGE: [Parameter; 2] = [
    (
        "label",
        Schema::Text,
        "The file systems with this label, such as root.",
    ),
    (
        "uuid",
        Schema::Text,
        "The file system with this UUID, as one object. Wins over label.",
    ),
];

/// Routes beside `/api`: path, media type, whether it is an object, parameters, what it is, and
/// whether it may fail with 500.
type Other = (
    &'static str,
    &'static str,
    &'static [Parameter],
    &'static str,
    bool,
);

/// Of `/api/cgauge/v1/events`.
const OWN_EVENTS: [Parameter; 8] = [
    (
        "after",
        Schema::Position,
        "Go on behind this position, which is that of an event or 0 for the beginning; Last-Event-ID says the same.",
    ),
    (
        "container",
        Schema::Text,
        "Of this container; / if not given.",
    ),
    ("end", Schema::Time, "Not after this time. Not with follow."),
    (
        "follow",
        Schema::True,
        "Also the events to come, until the client goes.",
    ),
    (
        "max",
        Schema::Number,
        "So many: the newest, or with after or follow the first.",
    ),
    ("start", Schema::Time, "Not before this time."),
    (
        "subcontainers",
        Schema::True,
        "Also of containers below; true if not given.",
    ),
    (
        "type",
        Schema::Text,
        "Of these types, separated by commas; all if not given.",
    ),
];

const TEXT: &str = "text/plain";
const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

const LEDGER: [Parameter; 7] = [
    (
        "container",
        Schema::Text,
        "Only this container and those below it.",
    ),
    (
        "name",
        Schema::Text,
        "Only what is called so: by a runtime, or by the beginning of its path or of the path's last element.",
    ),
    (
        "since",
        Schema::Text,
        "Only what had not ended before: a time, or a duration such as 1h before now.",
    ),
    ("oom", Schema::Flag, "Only with an OOM kill."),
    ("ended", Schema::Flag, "Only what has ended."),
    (
        "max",
        Schema::Count,
        "The newest so many; -1 for all. 100 if not given.",
    ),
    (
        "format",
        Schema::OneOf(&["json", "ndjson"]),
        "A list, or an object a line.",
    ),
];

const OTHERS: [Other; 10] = [
    (
        "/api/cgauge/v1/ledger",
        JSON,
        &LEDGER,
        "What became of containers, newest first: those that are there, then those that have gone.",
        false,
    ),
    ("/", TEXT, &[], "What there is.", false),
    ("/healthz", TEXT, &[], "ok", false),
    (
        "/version",
        JSON,
        &[],
        "Versions of cgauge, the kernel and the operating system.",
        false,
    ),
    (
        "/validate/",
        TEXT,
        &[],
        "Whether the node is set up for monitoring.",
        false,
    ),
    (
        "/metrics",
        TEXT,
        &[(
            "max_age",
            Schema::Duration,
            "Poll what was polled longer ago; 5s if not given.",
        )],
        "All figures of all containers, for Prometheus.",
        true,
    ),
    (
        "/metrics/resource",
        TEXT,
        &[],
        "CPU and memory of node and pods, as a kubelet tells it.",
        false,
    ),
    (
        "/stats/summary",
        JSON,
        &[("only_cpu_and_memory", Schema::True, "Leave out all else.")],
        "Node and pods, as a kubelet tells it.",
        false,
    ),
    (
        "/api/cgauge/v1/events",
        NDJSON,
        &OWN_EVENTS,
        "Events: one JSON object a line, or server-sent events to whoever accepts text/event-stream.",
        false,
    ),
    ("/openapi.json", JSON, &[], "This description.", false),
];

/// What an answer of the API is: its schema, and what it is about.
fn answer_of(version: Version, kind: Kind) -> (Value, &'static str) {
    let object = || json!({"type": "object"});
    let list = || json!({"type": "array", "items": {"type": "object"}});
    let map_of = |schema: Value| json!({"type": "object", "additionalProperties": schema});
    let container = || {
        json!({
            "type": "object",
            "required": ["name", "spec"],
            "properties": {
                "id": {"type": "string"},
                "name": {"type": "string"},
                "aliases": {"type": "array", "items": {"type": "string"}},
                "namespace": {"type": "string"},
                "spec": {"type": "object"},
                "stats": {"type": "array", "items": sample()},
                "subcontainers": list(),
            },
        })
    };
    match kind {
        Kind::Appmetrics => (map_of(object()), "Metrics of applications: none."),
        Kind::Attributes => (object(), "The machine and its versions."),
        Kind::Containers => (container(), "A container, its settings and newest samples."),
        Kind::Docker => (
            map_of(container()),
            "Containers of Docker by cgroup: all, or the one of a name, an id, or what only one begins with.",
        ),
        Kind::Events => (list(), "Past events, or with stream those to come."),
        Kind::Machine => (object(), "The machine."),
        Kind::Machinestats => (
            json!({"type": ["array", "null"], "items": sample()}),
            "Samples of the node.",
        ),
        Kind::Ps => (list(), "Processes of a container; of the node for /."),
        Kind::Spec => (map_of(object()), "Settings by container."),
        Kind::Stats if version == Version::V2_0 => (
            map_of(json!({"type": "array", "items": sample()})),
            "Samples by container.",
        ),
        Kind::Stats => (
            map_of(json!({
                "type": "object",
                "required": ["spec"],
                "properties": {"spec": object(), "stats": {"type": "array", "items": sample()}},
            })),
            "Settings and samples by container, without the root.",
        ),
        Kind::Storage => (
            json!({"anyOf": [list(), object()]}),
            "File systems as last measured.",
        ),
        Kind::Subcontainers => (
            json!({"type": "array", "items": container()}),
            "A container and everything below it.",
        ),
        Kind::Summary => (
            map_of(object()),
            "Use over the last minute, hour and day, by container.",
        ),
        Kind::Version => (json!({"type": "string"}), "The version of cgauge."),
    }
}

fn sample() -> Value {
    json!({
        "type": "object",
        "required": ["timestamp"],
        "properties": {"timestamp": {"type": "string", "format": "date-time"}},
    })
}

/// The parameters of a type of request.
fn parameters_of(version: Version, kind: Kind) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    if version >= Version::V2_0 {
        parameters.extend(COMMON);
    }
    match kind {
        Kind::Events => parameters.extend(EVENTS),
        Kind::Storage => parameters.extend(STORAGE),
        _ => {}
    }
    parameters
}

/// Whether a path below the type names a container.
fn has_name(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Attributes | Kind::Machine | Kind::Machinestats | Kind::Storage | Kind::Version
    )
}

/// Whether a JSON body is read.
fn has_body(kind: Kind) -> bool {
    matches!(kind, Kind::Containers | Kind::Subcontainers | Kind::Docker)
}

/// The whole description.
pub(super) fn description() -> Value {
    let mut paths = Map::new();
    for (version_name, version, kinds) in VERSIONS {
        for &kind in kinds {
            let at = format!("/api/{version_name}/{}", kind.as_str());
            let (schema, about) = answer_of(version, kind);
            let parameters = parameters_of(version, kind);
            let operation = |named: bool, method: &str| {
                let mut query = query(&parameters);
                if named {
                    query.push(json!({
                        "name": "name", "in": "path", "required": true,
                        "description": "A container: the path of its cgroup, slashes and all.",
                        "schema": {"type": "string"},
                    }));
                }
                let mut operation = json!({
                    "operationId": format!("{method}_{version_name}_{}{}", kind.as_str(), if named { "_named" } else { "" }),
                    "summary": about,
                    "parameters": query,
                    "responses": responses(JSON, &schema, true),
                });
                if has_body(kind)
                    && method == "post"
                    && let Some(operation) = operation.as_object_mut()
                {
                    operation.insert("requestBody".to_owned(), body());
                }
                operation
            };
            let item = |named: bool| {
                let mut item = Map::from_iter([("get".to_owned(), operation(named, "get"))]);
                if has_body(kind) {
                    item.insert("post".to_owned(), operation(named, "post"));
                }
                Value::Object(item)
            };
            if has_name(kind) {
                paths.insert(format!("{at}/{{name}}"), item(true));
            }
            paths.insert(at, item(false));
        }
    }
    for (path, media, parameters, about, fails) in OTHERS {
        let schema = match media {
            JSON if path.ends_with("ledger") => {
                json!({"type": "array", "items": {"type": "object"}})
            }
            JSON => json!({"type": "object"}),
            _ => json!({"type": "string"}),
        };
        paths.insert(
            path.to_owned(),
            json!({"get": {
                "operationId": format!("get{}", path.replace(['/', '.'], "_")),
                "summary": about,
                "parameters": query(parameters),
                "responses": responses(media, &schema, fails),
            }}),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "cgauge",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the containers of one Linux node use. Every route answers any method; what is wrong with a question to /api is told as text, with status 500, as clients know it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
    })
}

fn query(parameters: &[Parameter]) -> Vec<Value> {
    parameters
        .iter()
        .map(|(name, schema, about)| {
            json!({"name": name, "in": "query", "description": about, "schema": schema.json()})
        })
        .collect()
}

fn responses(media: &str, schema: &Value, fails: bool) -> Value {
    let text = |about: &str| json!({"description": about, "content": {"text/plain": {"schema": {"type": "string"}}}});
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({"description": "The answer.", "content": {media: {"schema": schema}}}),
    );
    if fails {
        responses.insert(
            "500".to_owned(),
            text("The question is wrong, or names no container."),
        );
        responses.insert(
            "404".to_owned(),
            text("The runtime knows a container of this name, and it has ended."),
        );
    }
    responses.insert(
        "400".to_owned(),
        text("The request is no HTTP that can be answered."),
    );
    responses.insert("408".to_owned(), text("The body did not arrive in time."));
    responses.insert("413".to_owned(), text("The body is too large."));
    responses.insert("414".to_owned(), text("The path is too long."));
    responses.insert("431".to_owned(), text("The headers are too large."));
    responses.insert("503".to_owned(), text("Too many connections."));
    Value::Object(responses)
}

fn body() -> Value {
    let time = json!({"type": ["string", "null"], "format": "date-time"});
    json!({
        "required": false,
        "content": {"application/json": {"schema": {
            "type": ["object", "null"],
            "properties": {
                "num_stats": {"type": ["integer", "null"], "minimum": -1, "format": "int64", "description": "The newest so many samples; -1 for all. 60 if not given."},
                "start": time,
                "end": time,
            },
        }}},
    })
}
