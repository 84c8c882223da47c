//! `consign topics acls`: what the brokers must permit, and to whom.

use clap::Args;

use super::client::Globals;
use super::exit::Exit;
use super::failure::Failure;
use super::kafka::ConnectionArgs;
use super::output::answer::{AclGrant, TopicsAcls};
use super::output::print;
use crate::log::kafka::{Grant, Principals, plan_grants};
use crate::record::TopicNames;

/// Arguments of `topics acls`.
#[derive(Debug, Clone, Args)]
pub struct AclsArgs {
    /// The principal of `consign run`, engine and gateway.
    #[arg(long, value_name = "PRINCIPAL", default_value = "User:consign")]
    pub engine: String,
    /// A principal that sets up: topics, routing apply, offsets repair, verify. May be repeated.
    #[arg(long = "admin", value_name = "PRINCIPAL")]
    pub admins: Vec<String>,
    /// A principal that announces files on `manifests`. May be repeated.
    #[arg(long = "producer", value_name = "PRINCIPAL")]
    pub producers: Vec<String>,
    /// A principal that reports on `acks`. May be repeated.
    #[arg(long = "receiver", value_name = "PRINCIPAL")]
    pub receivers: Vec<String>,
    /// A principal that reads states. May be repeated.
    #[arg(long = "reader", value_name = "PRINCIPAL")]
    pub readers: Vec<String>,
    /// A consumer group that readers read in. May be repeated.
    #[arg(long = "reader-group", value_name = "GROUP", requires = "readers")]
    pub reader_groups: Vec<String>,
    /// A topic of this cluster that Kafka targets of the routing document write to. May be repeated.
    #[arg(long = "target-topic", value_name = "TOPIC")]
    pub target_topics: Vec<String>,
    /// Client settings for kafka-acls, with the credentials of who may change access control lists.
    #[arg(long, value_name = "FILE")]
    pub command_config: Option<String>,
    /// Where the brokers are.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Prints the commands, or what they grant.
pub(super) fn run(args: &AclsArgs, globals: &Globals) -> Result<Exit, Failure> {
    let config = args.connection.config()?;
    let principals = Principals {
        engine: args.engine.clone(),
        admins: args.admins.clone(),
        producers: args.producers.clone(),
        receivers: args.receivers.clone(),
        readers: args.readers.clone(),
        reader_groups: args.reader_groups.clone(),
        target_topics: args.target_topics.clone(),
    };
    let named = [&principals.admins, &principals.producers, &principals.receivers, &principals.readers];
    let mut all = named.into_iter().flatten().chain([&principals.engine]);
    if let Some(wrong) = all.find(|name| !is_principal(name)) {
        let text = format!("`{wrong}` is no principal such as User:consign");
        return Err(
            Failure::coded(Exit::Usage, "CG400", text).hint("Kafka writes a principal as its type, a colon, its name")
        );
    }
    let names = TopicNames::new(&config.kafka.prefix);
    let group = super::kafka::group(&config);
    let grants = plan_grants(&names, &group, &principals);
    let begin = begin(&config.kafka.bootstrap, args.command_config.as_deref());
    let answer = TopicsAcls { acls: grants.iter().map(|grant| shown(grant, &begin)).collect() };
    print(globals.output, &answer, || {
        let line = |acl: &AclGrant| format!("# {}: {}\n{}\n", acl.principal, acl.purpose, acl.command);
        answer.acls.iter().map(line).collect::<Vec<_>>().concat()
    });
    Ok(Exit::Ok)
}

fn is_principal(text: &str) -> bool {
    let is_name = |name: &str| !name.trim().is_empty() && !name.chars().any(char::is_control);
    text.split_once(':').is_some_and(|(kind, name)| {
        !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric()) && is_name(name)
    })
}

fn begin(bootstrap: &str, command_config: Option<&str>) -> Vec<String> {
    let mut words = vec!["kafka-acls".to_owned(), "--bootstrap-server".to_owned(), bootstrap.to_owned()];
    if let Some(file) = command_config {
        words.extend(["--command-config".to_owned(), file.to_owned()]);
    }
    words
}

fn shown(grant: &Grant, begin: &[String]) -> AclGrant {
    // Kafka has no empty prefix; everything is its wildcard.
    let is_any = grant.is_prefix && grant.names.iter().all(String::is_empty);
    let names: Vec<String> = if is_any { vec!["*".to_owned()] } else { grant.names.clone() };
    let pattern = if grant.is_prefix && !is_any { "prefixed" } else { "literal" };
    let mut words = begin.to_vec();
    words.push("--add".to_owned());
    let mut option = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
    option("--allow-principal", &grant.principal);
    for operation in &grant.operations {
        option("--operation", operation);
    }
    for name in &names {
        option(&format!("--{}", grant.resource.name()), name);
    }
    option("--resource-pattern-type", pattern);
    AclGrant {
        principal: grant.principal.clone(),
        operations: grant.operations.clone(),
        resource: grant.resource.name(),
        pattern,
        names,
        purpose: grant.purpose,
        command: words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-:/,=@+".contains(&b);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::kafka::Resource;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        for (word, expected) in [
            ("consign.acks", "consign.acks"),
            ("*", "'*'"),
            ("User:CN=a b", "'User:CN=a b'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn without_a_prefix_every_transactional_id_is_granted() {
        let grant = Grant {
            principal: "User:consign".into(),
            operations: vec!["Write"],
            resource: Resource::TransactionalId,
            names: vec![String::new()],
            is_prefix: true,
            purpose: "",
        };
        let acl = shown(&grant, &begin("b:1", Some("admin.properties")));
        assert_eq!(
            acl.command,
            "kafka-acls --bootstrap-server b:1 --command-config admin.properties --add --allow-principal User:consign \
             --operation Write --transactional-id '*' --resource-pattern-type literal"
        );
    }

    #[test]
    fn a_principal_has_a_type_and_a_name() {
        for (text, is) in [
            ("User:a", true),
            ("User:CN=a, O=b", true),
            ("a", false),
            ("User:", false),
            (":a", false),
            ("User:a\nb", false),
        ] {
            assert_eq!(is_principal(text), is, "{text}");
        }
    }
}
