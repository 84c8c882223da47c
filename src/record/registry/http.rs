//! The schema registry over HTTP: the API that Confluent's has, as others have it too.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use apache_avro::Schema;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id, post_schema};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SuppliedSchema};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::super::{Topic, TopicNames};
use super::{RegistryError, SchemaSource};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// Readers of every version must read records of every other: the topics keep records for as long as files live.
const LEVEL: &str = "FULL_TRANSITIVE";
/// Error codes of the API for a subject, a version or a schema that isn't there.
const NOT_FOUND: [u64; 3] = [40401, 40402, 40403];

/// How the registry is told who asks.
#[derive(Clone, Default)]
pub enum RegistryAuth {
    /// Not at all.
    #[default]
    None,
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A bearer token.
    Bearer(String),
}

impl fmt::Debug for RegistryAuth {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
        })
    }
}

/// What registering did with a topic's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The topic.
    pub topic: Topic,
    /// The subject of its values.
    pub subject: String,
    /// The id of its compiled-in schema there.
    pub id: u32,
    /// Whether the schema was there before.
    pub already_there: bool,
}

/// One way in which the registry is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaDifference {
    /// The subject has no schema at all.
    Missing {
        /// The subject.
        subject: String,
    },
    /// The newest schema of the subject is not the compiled-in one.
    Other {
        /// The subject.
        subject: String,
        /// The id of the newest one.
        newest: u32,
        /// Whether the registry would take the compiled-in one as the next version.
        compatible: bool,
    },
    /// The subject doesn't demand full compatibility.
    Level {
        /// The subject.
        subject: String,
        /// What it demands, where it demands anything.
        is: Option<String>,
    },
}

impl fmt::Display for SchemaDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { subject } => write!(f, "{subject} has no schema"),
            Self::Other { subject, newest, compatible } => {
                let but = if *compatible { "compatible with" } else { "not compatible with" };
                write!(f, "{subject}: the newest schema, id {newest}, is not this version's, but {but} it")
            }
            Self::Level { subject, is } => {
                write!(f, "{subject}: compatibility is {}, not {LEVEL}", is.as_deref().unwrap_or("not set"))
            }
        }
    }
}

/// [`SchemaSource`] over HTTP, and what `schemas register` and `schemas check` need.
///
/// Blocking: its methods wait on a tokio runtime, and panic on a thread that runs that runtime's tasks.
pub struct HttpRegistry {
    url: String,
    names: TopicNames,
    auth: RegistryAuth,
    client: reqwest::Client,
    settings: SrSettings,
    runtime: Handle,
}

impl HttpRegistry {
    /// `url` is the base of the API, with a path where the registry has one. Nothing is asked yet.
    ///
    /// `Refused` for a URL or credentials that no request can be made with.
    pub fn new(url: &str, names: TopicNames, auth: RegistryAuth, runtime: Handle) -> Result<Self, RegistryError> {
        // Only the first provider of a process counts, and they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = url.trim_end_matches('/').to_owned();
        let refused = |e: &dyn fmt::Display| RegistryError::Refused(format!("schema registry {url}: {e}"));
        reqwest::Url::parse(&url).map_err(|e| refused(&e))?;
        let builder = || reqwest::Client::builder().connect_timeout(TIMEOUT).timeout(TIMEOUT);
        let client = builder().build().map_err(|e| refused(&e))?;
        let mut settings = SrSettings::new_builder(url.clone());
        match &auth {
            RegistryAuth::None => {}
            RegistryAuth::Basic { user, password } => {
                settings.set_basic_authorization(user, Some(password));
            }
            RegistryAuth::Bearer(token) => {
                settings.set_token_authorization(token);
            }
        }
        let settings = settings.set_timeout(TIMEOUT).build_with(builder()).map_err(|e| refused(&e))?;
        Ok(Self { url, names, auth, client, settings, runtime })
    }

    /// Registers every compiled-in schema and has every subject demand full compatibility. Changes nothing where all is
    /// as it must be. `Refused` where the registry finds a schema incompatible with one it has.
    pub fn register(&self) -> Result<Vec<Registered>, RegistryError> {
        topics_with_schemas().map(|(topic, schema)| self.register_one(topic, schema)).collect()
    }

    /// What differs between the registry and the compiled-in schemas.
    pub fn check(&self) -> Result<Vec<SchemaDifference>, RegistryError> {
        let mut differences = Vec::new();
        for (topic, schema) in topics_with_schemas() {
            self.check_one(&self.names.subject(topic), schema, &mut differences)?;
        }
        Ok(differences)
    }

    /// How a registration differs from what somebody says of it: that this version of a subject has this id and this schema. `None`
    /// where it is so.
    ///
    /// `Away` where the registry gives no usable answer, `Refused` where it refuses the question.
    pub fn contradiction(
        &self,
        subject: &str,
        version: i32,
        id: u32,
        schema: &str,
    ) -> Result<Option<String>, RegistryError> {
        let escaped = utf8_percent_encode(subject, NON_ALPHANUMERIC);
        let Some(found) = self.ask(Method::GET, &format!("subjects/{escaped}/versions/{version}"), None)? else {
            return Ok(Some(format!("the registry has no version {version} of {subject}")));
        };
        let is = id_in(&found)?;
        let text = found["schema"].as_str().ok_or_else(|| away("no schema in the reply"))?;
        Ok(if is != id {
            Some(format!("version {version} of {subject} has the id {is}, not {id}"))
        } else if same_schema(text, schema) {
            None
        } else {
            Some(format!("version {version} of {subject} is another schema than the file says"))
        })
    }

    fn register_one(&self, topic: Topic, schema: &str) -> Result<Registered, RegistryError> {
        let subject = self.names.subject(topic);
        let (id, already_there) = match self.look_up(&subject, schema)? {
            Some(id) => (id, true),
            None => (self.post(&subject, schema)?, false),
        };
        // Some registries keep a level only for a subject that exists, so it comes after the first schema.
        if self.level(&subject)?.as_deref() != Some(LEVEL) {
            self.demand_full_compatibility(&subject)?;
        }
        Ok(Registered { topic, subject, id, already_there })
    }

    /// Registers a schema. Of several who do so at once, some registries refuse all but the first with a conflict.
    fn post(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        if self.newest(subject)?.is_some() && self.level(subject)?.as_deref() != Some(LEVEL) {
            // Registering is what the level guards.
            self.demand_full_compatibility(subject)?;
        }
        let mut again = true;
        loop {
            let supplied = SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned());
            let error = match self.runtime.block_on(post_schema(&self.settings, subject.to_owned(), supplied)) {
                Ok(registered) => return Ok(registered.id),
                Err(error) if error.retriable => return Err(RegistryError::Away(error.to_string())),
                Err(error) => error,
            };
            if let Some(id) = self.look_up(subject, schema)? {
                return Ok(id);
            }
            if !std::mem::take(&mut again) {
                return Err(RegistryError::Refused(format!("{subject}: the schema was refused: {error}")));
            }
        }
    }

    /// The id of a schema under a subject, if it is registered there.
    fn look_up(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryError> {
        let body = json!({"schema": schema, "schemaType": "AVRO"});
        let Some(found) = self.ask(Method::POST, &format!("subjects/{subject}"), Some(body))? else { return Ok(None) };
        let id = id_in(&found)?;
        match found["schema"].as_str() {
            // A registry that lost its data may give an id to another schema.
            Some(text) if !same_schema(text, schema) => Err(RegistryError::Refused(format!(
                "{subject}: the registry answers with id {id}, behind which is another schema"
            ))),
            _ => Ok(Some(id)),
        }
    }

    fn newest(&self, subject: &str) -> Result<Option<(u32, String)>, RegistryError> {
        let Some(found) = self.ask(Method::GET, &format!("subjects/{subject}/versions/latest"), None)? else {
            return Ok(None);
        };
        let text = found["schema"].as_str().ok_or_else(|| away("no schema in the reply"))?;
        Ok(Some((id_in(&found)?, text.to_owned())))
    }

    fn level(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        let found = self.ask(Method::GET, &format!("config/{subject}?defaultToGlobal=true"), None)?;
        Ok(found.and_then(|f| f["compatibilityLevel"].as_str().map(str::to_owned)))
    }

    /// Sets the subject's level. Of several who do so at once, some registries refuse all but the first with a conflict.
    fn demand_full_compatibility(&self, subject: &str) -> Result<(), RegistryError> {
        let mut again = true;
        loop {
            let refused =
                match self.ask(Method::PUT, &format!("config/{subject}"), Some(json!({"compatibility": LEVEL}))) {
                    Ok(Some(_)) => return Ok(()),
                    Ok(None) => {
                        RegistryError::Refused(format!("{subject}: the registry takes no compatibility level for it"))
                    }
                    Err(RegistryError::Refused(_)) if self.level(subject)?.as_deref() == Some(LEVEL) => return Ok(()),
                    Err(error) => error,
                };
            if !std::mem::take(&mut again) {
                return Err(refused);
            }
        }
    }

    fn check_one(&self, subject: &str, schema: &str, all: &mut Vec<SchemaDifference>) -> Result<(), RegistryError> {
        let subject = subject.to_owned();
        let Some((newest, text)) = self.newest(&subject)? else {
            all.push(SchemaDifference::Missing { subject });
            return Ok(());
        };
        if !same_schema(&text, schema) {
            let body = json!({"schema": schema, "schemaType": "AVRO"});
            let path = format!("compatibility/subjects/{subject}/versions/latest");
            let judged = self.ask(Method::POST, &path, Some(body))?;
            let compatible = judged.and_then(|j| j["is_compatible"].as_bool()).unwrap_or(false);
            all.push(SchemaDifference::Other { subject: subject.clone(), newest, compatible });
        }
        let is = self.level(&subject)?;
        if is.as_deref() != Some(LEVEL) {
            all.push(SchemaDifference::Level { subject, is });
        }
        Ok(())
    }

    /// One request: the JSON of a success, `None` where the API says that there is no such thing, else an error.
    ///
    /// A 404 without the API's own code comes from something else that listens there, and says nothing about schemas.
    fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Option<Value>, RegistryError> {
        let mut request =
            self.client.request(method, format!("{}/{path}", self.url)).header(reqwest::header::ACCEPT, MEDIA_TYPE);
        request = match &self.auth {
            RegistryAuth::None => request,
            RegistryAuth::Basic { user, password } => request.basic_auth(user, Some(password)),
            RegistryAuth::Bearer(token) => request.bearer_auth(token),
        };
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, MEDIA_TYPE).body(body.to_string());
        }
        let (status, text) = self
            .runtime
            .block_on(async {
                let reply = request.send().await?;
                Ok::<_, reqwest::Error>((reply.status(), reply.text().await?))
            })
            .map_err(|e| away(&with_causes(&e)))?;
        let json: Option<Value> = serde_json::from_str(&text).ok();
        let code = json.as_ref().and_then(|j| j["error_code"].as_u64());
        match (status, json) {
            (status, Some(json)) if status.is_success() => Ok(Some(json)),
            (StatusCode::NOT_FOUND, _) if code.is_some_and(|c| NOT_FOUND.contains(&c)) => Ok(None),
            (StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY, _) => {
                Err(RegistryError::Refused(format!("{path}: {status}: {}", shortened(&text))))
            }
            (status, _) => Err(away(&format!("{path}: {status}: {}", shortened(&text)))),
        }
    }
}

impl SchemaSource for HttpRegistry {
    fn ping(&self) -> Result<(), RegistryError> {
        match self.ask(Method::GET, "config", None) {
            Ok(_) | Err(RegistryError::Refused(_)) => Ok(()),
            Err(away) => Err(away),
        }
    }

    fn schema(&self, id: u32) -> Result<String, RegistryError> {
        match self.runtime.block_on(get_schema_by_id(id, &self.settings)) {
            Ok(found) if found.schema_type == SchemaType::Avro => Ok(found.schema),
            Ok(found) => Err(RegistryError::Refused(format!("id {id} is no Avro schema but {:?}", found.schema_type))),
            Err(error) if is_not_found(&error) => {
                Err(RegistryError::Refused(format!("the registry has no schema with the id {id}")))
            }
            Err(error) => Err(away(&with_causes(&error))),
        }
    }

    /// Never registers: a schema gets its id by `schemas register` alone. Docs are no part of what a record means, so that a
    /// schema that differs from the newest in its docs only has that one's id.
    fn id_of(&self, topic: Topic) -> Result<u32, RegistryError> {
        let subject = self.names.subject(topic);
        let Some(schema) = topic.schema() else {
            return Err(RegistryError::Refused(format!("{} has no schema", topic.base_name())));
        };
        if let Some(id) = self.look_up(&subject, schema)? {
            return Ok(id);
        }
        match self.newest(&subject)? {
            Some((id, text)) if same_schema(&text, schema) => Ok(id),
            _ => Err(RegistryError::Refused(format!(
                "{subject}: this version's schema isn't registered; `consign schemas register` does that"
            ))),
        }
    }
}

fn topics_with_schemas() -> impl Iterator<Item = (Topic, &'static str)> {
    Topic::ALL.into_iter().filter_map(|topic| Some((topic, topic.schema()?)))
}

fn same_schema(one: &str, other: &str) -> bool {
    match (Schema::parse_str(one), Schema::parse_str(other)) {
        (Ok(one), Ok(other)) => one.canonical_form() == other.canonical_form(),
        _ => false,
    }
}

fn id_in(found: &Value) -> Result<u32, RegistryError> {
    found["id"].as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| away("no id in the reply"))
}

fn is_not_found(error: &SRCError) -> bool {
    let raw = error.source().and_then(|source| source.downcast_ref::<RawError>());
    raw.is_some_and(|raw| NOT_FOUND.contains(&u64::from(raw.error_code)))
}

fn away(text: &str) -> RegistryError {
    RegistryError::Away(text.to_owned())
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    /// Answers every request with the same bytes; gives its URL.
    fn answering(reply: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                read_request(&mut stream);
                let _ = stream.write_all(reply.as_bytes());
            }
        });
        url
    }

    /// Answers one request and hands its head over; gives the URL.
    fn listening() -> (String, std::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heads, head) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            heads.send(read_request(&mut stream)).unwrap();
            stream.write_all(UNKNOWN.as_bytes()).unwrap();
        });
        (url, head)
    }

    #[test]
    fn credentials_are_sent() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let basic = RegistryAuth::Basic { user: "ann".into(), password: "hush".into() };
        for (auth, wanted) in [
            (RegistryAuth::None, None),
            (basic, Some("authorization: Basic YW5uOmh1c2g=")),
            (RegistryAuth::Bearer("word".into()), Some("authorization: Bearer word")),
        ] {
            let (url, head) = listening();
            let registry = HttpRegistry::new(&url, TopicNames::new("x."), auth, runtime.handle().clone()).unwrap();
            assert!(registry.id_of(Topic::Plans).is_err());
            let head = head.recv().unwrap();
            let sent = head.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
            assert_eq!(sent, wanted, "{head}");
        }
    }

    /// All of it: a connection that is closed with bytes unread is reset, and the reply may be lost.
    fn read_request(stream: &mut TcpStream) -> String {
        let mut reader = BufReader::new(stream);
        let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
        while reader.read_line(&mut line).unwrap() > 2 {
            head.push_str(&line);
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
        head
    }

    fn ask<T>(url: &str, question: impl FnOnce(&HttpRegistry) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let names = TopicNames::new("x.");
        question(&HttpRegistry::new(url, names, RegistryAuth::None, runtime.handle().clone()).unwrap())
    }

    const NOWHERE: &str = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 3\r\n\r\nwho";
    const BROKEN: &str = "HTTP/1.1 500 Oops\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    const UNKNOWN: &str = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 41\r\n\r\n\
                           {\"error_code\":40403,\"message\":\"not here\"} ";
    const NO_JSON: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";

    #[test]
    fn only_the_registrys_own_words_say_that_a_schema_is_unknown() {
        for (reply, refused) in [(UNKNOWN, true), (NOWHERE, false), (BROKEN, false), (NO_JSON, false)] {
            let url = answering(reply);
            let by_id = ask(&url, |registry| registry.schema(1)).unwrap_err();
            let by_subject = ask(&url, |registry| registry.id_of(Topic::Plans)).unwrap_err();
            assert_eq!(matches!(by_id, RegistryError::Refused(_)), refused, "{reply}: {by_id}");
            assert_eq!(matches!(by_subject, RegistryError::Refused(_)), refused, "{reply}: {by_subject}");
        }
    }

    #[test]
    fn a_missing_schema_names_the_command_that_registers_it() {
        let error = ask(&answering(UNKNOWN), |registry| registry.id_of(Topic::Plans)).unwrap_err();
        assert!(error.to_string().contains("consign schemas register"), "{error}");
    }

    /// Answers requests one after the other: unknown to the first, then the newest version of the subject.
    fn knowing_as_newest(schema: &str) -> String {
        let newest = json!({"subject": "x.plans-value", "version": 1, "id": 7, "schema": schema}).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", newest.len());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for reply in [UNKNOWN.to_owned(), head + &newest] {
                let (mut stream, _) = listener.accept().unwrap();
                read_request(&mut stream);
                let _ = stream.write_all(reply.as_bytes());
            }
        });
        url
    }

    #[test]
    fn a_schema_that_differs_in_its_docs_alone_needs_no_registration() {
        let ours: Value = serde_json::from_str(Topic::Plans.schema().unwrap()).unwrap();
        let mut reworded = ours.clone();
        (reworded["doc"], reworded["fields"][0]["doc"]) = (json!("other words"), json!("other words"));
        let found = ask(&knowing_as_newest(&reworded.to_string()), |registry| registry.id_of(Topic::Plans));
        assert_eq!(found.unwrap(), 7);
        let mut without = ours;
        without["fields"].as_array_mut().unwrap().pop();
        let missing = ask(&knowing_as_newest(&without.to_string()), |registry| registry.id_of(Topic::Plans));
        assert!(missing.unwrap_err().to_string().contains("consign schemas register"));
    }

    #[test]
    fn an_id_behind_which_is_another_schema_is_refused() {
        const OTHER: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 34\r\n\r\n\
                             {\"id\": 7, \"schema\": \"\\\"string\\\"\"}  ";
        let error = ask(&answering(OTHER), |registry| registry.id_of(Topic::Plans)).unwrap_err();
        assert!(error.to_string().contains("another schema"), "{error}");
    }

    #[test]
    fn dead_letters_have_no_schema() {
        let error = ask("http://127.0.0.1:1", |registry| registry.id_of(Topic::DeadLetters)).unwrap_err();
        assert!(matches!(error, RegistryError::Refused(_)));
    }

    #[test]
    fn what_is_no_url_is_refused_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let made = HttpRegistry::new("nowhere", TopicNames::new("x."), RegistryAuth::None, runtime.handle().clone());
        assert!(matches!(made, Err(RegistryError::Refused(_))));
    }

    #[test]
    fn secrets_are_not_shown() {
        let auth = RegistryAuth::Basic { user: "ann".into(), password: "hush".into() };
        assert_eq!(format!("{auth:?}"), "Basic");
    }
}
