//! What a line in the log of ExternalDNS means.

/// The meaning of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// A synchronisation found everything as it should be.
    Healthy,
    /// Changes were written.
    Applied,
    /// There were changes, and none of them fitted a zone. Those that did were made before, so this says nothing about
    /// the records that are there (`submitChanges` in `provider/aws/aws.go`).
    NoZoneMatch,
    /// No hosted zone survived the filters.
    NoZones,
    /// A change that is about to be written.
    Change {
        /// `CREATE`, `UPSERT` or `DELETE`.
        action: String,
        /// The record's name.
        name: String,
        /// The record's type.
        record_type: String,
    },
    /// STS refuses the role to this ServiceAccount.
    Trust,
    /// There is no IAM OIDC provider for the cluster's issuer.
    OidcProvider,
    /// The pod works with the role of its node.
    NodeRole,
    /// There are no credentials at all.
    NoCredentials,
    /// The role lacks a permission.
    Policy {
        /// The IAM action.
        action: String,
        /// The resource, where the line says it.
        resource: Option<String>,
    },
    /// An argument that this version doesn't take; the process exits.
    Flag {
        /// What it says of it.
        detail: String,
    },
    /// Something in Kubernetes can't be read: no right to, or no such API; the process exits.
    Rbac {
        /// The kind, where the line says it.
        kind: Option<String>,
    },
    /// The token can't be read by the user of the process.
    FsGroup,
    /// A record or TXT record exists already, and isn't its own.
    Conflict,
    /// A TXT record that it wants to delete doesn't exist.
    MissingTxt,
    /// Too many calls to Route53.
    Throttling,
    /// An endpoint of AWS can't be reached.
    Network {
        /// The host, where the line says it.
        host: Option<String>,
    },
    /// A load balancer's region is unknown to this version: CNAME instead of ALIAS.
    Region {
        /// The load balancer.
        domain: String,
    },
    /// A TXT record of an older naming can be removed.
    Cleanup,
    /// It changes nothing.
    DryRun,
    /// A record is left alone for want of ownership.
    NotOwned,
    /// The TXT record of a host would have a label of over 63 characters.
    LabelTooLong,
    /// So many synchronisations in a row failed.
    SoftErrors(u32),
    /// It works again.
    Recovered,
    /// Changes to a zone failed; another line says why.
    Submit,
    /// It exits.
    Fatal {
        /// Its last words.
        detail: String,
    },
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// Works, with something to look at.
    Warning,
    /// DNS isn't updated; it goes on trying.
    Error,
    /// The process exits.
    Fatal,
}

/// The meaning of a line in either log format; `None` for lines that mean nothing in particular.
pub fn classify(line: &str) -> Option<Class> {
    let text = &line.replace("\\\"", "\"");
    progress(text)
        .or_else(|| credentials(text))
        .or_else(|| permissions(text))
        .or_else(|| start(text))
        .or_else(|| route53(text))
        .or_else(|| general(text))
}

fn progress(text: &str) -> Option<Class> {
    if text.contains("there are no changes for the matching hosted zones") {
        return Some(Class::NoZoneMatch);
    }
    if text.contains("All records are already up to date") {
        return Some(Class::Healthy);
    }
    if text.contains("successfully updated") && text.contains("record(s)") {
        return Some(Class::Applied);
    }
    if text.contains("Applying provider record filter for domains: []") {
        return Some(Class::NoZones);
    }
    if text.contains("running in dry-run mode") {
        return Some(Class::DryRun);
    }
    let mut words = after(text, "Desired change: ")?.split(|c: char| c.is_whitespace() || c == '"');
    let mut next = || words.next().filter(|word| !word.is_empty()).map(str::to_owned);
    Some(Class::Change { action: next()?, name: next()?, record_type: next()? })
}

fn credentials(text: &str) -> Option<Class> {
    if text.contains("No OpenIDConnect provider found") {
        return Some(Class::OidcProvider);
    }
    if text.contains("serviceaccount/token") && text.contains("permission denied") {
        return Some(Class::FsGroup);
    }
    let web_identity = text.contains("AssumeRoleWithWebIdentity");
    if web_identity
        && (text.contains("AccessDenied") || text.contains("Not authorized") || text.contains("not authorized"))
    {
        return Some(Class::Trust);
    }
    // After all else the SDK asks for the role of the node, whose address may not be reachable.
    if text.contains("no EC2 IMDS role found") {
        return Some(Class::NoCredentials);
    }
    if text.contains("dial tcp") || text.contains("i/o timeout") || text.contains("no such host") {
        return Some(Class::Network { host: aws_host(text) });
    }
    let none = ["NoCredentialProviders", "failed to refresh cached credentials"];
    none.iter().any(|fragment| text.contains(fragment)).then_some(Class::NoCredentials)
}

fn permissions(text: &str) -> Option<Class> {
    let action = word(after(text, "not authorized to perform: ")?);
    let session = after(text, "assumed-role/").map(word).and_then(|role| role.split('/').nth(1).map(str::to_owned));
    let instance = session.is_some_and(|session| {
        session.strip_prefix("i-").is_some_and(|id| id.len() > 2 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    if instance {
        return Some(Class::NodeRole);
    }
    let resource = after(text, "on resource: ").map(word).filter(|resource| !resource.is_empty());
    Some(Class::Policy { action, resource })
}

fn start(text: &str) -> Option<Class> {
    for fragment in ["flag parsing error: ", "config validation failed: ", "--policy must be set explicitly"] {
        if let Some(at) = text.find(fragment) {
            return Some(Class::Flag { detail: message(&text[at..]) });
        }
    }
    for fragment in ["unknown long flag", "enum value must be one of"] {
        if let Some(at) = text.find(fragment) {
            return Some(Class::Flag { detail: message(&text[at..]) });
        }
    }
    if let Some(kind) = after(text, "failed to sync *") {
        let kind = kind.split(|c: char| c.is_whitespace() || c == ':' || c == '"').next().unwrap_or_default();
        return Some(Class::Rbac { kind: kind.rsplit('.').next().map(str::to_owned) });
    }
    let caches = ["failed to sync cache", "cache failed to sync", "failed to sync caches"];
    caches.iter().any(|fragment| text.contains(fragment)).then_some(Class::Rbac { kind: None })
}

fn route53(text: &str) -> Option<Class> {
    if text.contains("InvalidChangeBatch") {
        let missing = text.contains("but it was not found") && !text.contains("already exists");
        return Some(if missing { Class::MissingTxt } else { Class::Conflict });
    }
    let throttled = ["Throttling", "Rate exceeded", "provider side throttling"];
    if throttled.iter().any(|fragment| text.contains(fragment)) {
        return Some(Class::Throttling);
    }
    if let Some(domain) = after(text, "Could not find canonical hosted zone for domain ") {
        return Some(Class::Region { domain: word(domain).trim_end_matches('.').to_owned() });
    }
    if text.contains("Obsolete legacy TXT record") {
        return Some(Class::Cleanup);
    }
    if text.contains("is longer than 63 characters") {
        return Some(Class::LabelTooLong);
    }
    if text.contains("because owner id does not match") {
        return Some(Class::NotOwned);
    }
    text.contains("failed to submit all changes for the following zones").then_some(Class::Submit)
}

fn general(text: &str) -> Option<Class> {
    if text.contains("Reconciliation succeeded after") {
        return Some(Class::Recovered);
    }
    if let Some(count) = after(text, "consecutive soft errors: ") {
        let digits: String = count.chars().take_while(char::is_ascii_digit).collect();
        return Some(Class::SoftErrors(digits.parse().unwrap_or(1)));
    }
    if text.contains("soft error") {
        return Some(Class::SoftErrors(1));
    }
    let fatal = ["level=fatal", "\"level\":\"fatal\"", "\"level\":\"panic\"", "level=panic"];
    let exits = fatal.iter().any(|fragment| text.contains(fragment)) || text.starts_with("panic: ");
    exits.then(|| Class::Fatal { detail: message(text) })
}

fn after<'t>(text: &'t str, fragment: &str) -> Option<&'t str> {
    text.split_once(fragment).map(|(_, rest)| rest)
}

/// Up to the next blank or quote, without punctuation at the end.
fn word(text: &str) -> String {
    let end = text.find(|c: char| c.is_whitespace() || c == '"' || c == '\\').unwrap_or(text.len());
    text[..end].trim_end_matches(['.', ',', ';', ':']).to_owned()
}

/// The message of a line in either format, or all of it.
fn message(text: &str) -> String {
    let body = after(text, "msg=\"").or_else(|| after(text, "\"msg\":\"")).unwrap_or(text);
    let end = ["\" ", "\",", "\"}"].iter().filter_map(|end| body.find(end)).min();
    body[..end.unwrap_or(body.len())].trim_end().trim_end_matches('"').to_owned()
}

fn aws_host(text: &str) -> Option<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'));
    words.filter(|word| word.contains(".amazonaws.com")).map(str::to_owned).next()
}

/// True if a synchronisation has come to its end without an error.
pub fn is_first_sync(class: &Class) -> bool {
    matches!(class, Class::Healthy | Class::Applied | Class::NoZoneMatch)
}

/// What a log says in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// A synchronisation has succeeded.
    pub synced: bool,
    /// What is wrong, each with how often it was said: all since the last synchronisation that succeeded, and the
    /// warnings of that one.
    pub wrong: Vec<(Class, usize)>,
}

/// Reads a log to its end: what came before a synchronisation that succeeded is over.
pub fn story(log: &str) -> Story {
    let mut story = Story::default();
    let mut warned = Vec::new();
    let mut applied = false;
    for class in log.lines().filter_map(classify) {
        applied |= class == Class::Applied;
        let synced = is_first_sync(&class);
        match severity(&class) {
            Severity::Fine => {}
            _ => count(&mut story.wrong, class),
        }
        if synced {
            warned = std::mem::take(&mut story.wrong);
            warned.retain(|(class, _)| severity(class) == Severity::Warning);
            story.synced = true;
        }
    }
    for (class, times) in warned {
        if !story.wrong.iter().any(|(other, _)| *other == class) {
            story.wrong.push((class, times));
        }
    }
    // What writes records has its zones: names outside them, such as the TXT record of an apex, are left over for ever.
    if applied {
        story.wrong.retain(|(class, _)| *class != Class::NoZoneMatch);
    }
    // These say that there was an error, which is said, too.
    let reason = |class: &Class| !matches!(class, Class::Submit | Class::SoftErrors(_));
    if story.wrong.iter().any(|(class, _)| severity(class) >= Severity::Error && reason(class)) {
        story.wrong.retain(|(class, _)| reason(class));
    }
    story
}

/// Of errors in a row the last number counts.
fn count(wrong: &mut Vec<(Class, usize)>, class: Class) {
    let same =
        |other: &Class| *other == class || matches!((other, &class), (Class::SoftErrors(_), Class::SoftErrors(_)));
    match wrong.iter_mut().find(|(other, _)| same(other)) {
        Some(found) => *found = (class, found.1 + 1),
        None => wrong.push((class, 1)),
    }
}

/// False where the log level keeps back that a synchronisation has succeeded, or a dry run never writes anything.
pub fn tells_of_syncs(extra_args: &[String]) -> bool {
    let quiet = ["warn", "warning", "error", "fatal", "panic"];
    let level = extra_args.iter().rev().find_map(|arg| arg.strip_prefix("--log-level="));
    let dry = extra_args.iter().rev().find_map(|arg| match arg.as_str() {
        "--dry-run" | "--dry-run=true" => Some(true),
        "--no-dry-run" | "--dry-run=false" => Some(false),
        _ => None,
    });
    level.is_none_or(|level| !quiet.contains(&level)) && !dry.unwrap_or_default()
}

/// How bad a class is.
pub fn severity(class: &Class) -> Severity {
    match class {
        Class::Healthy | Class::Applied | Class::Change { .. } | Class::Recovered => Severity::Fine,
        Class::NoZoneMatch
        | Class::NoZones
        | Class::Region { .. }
        | Class::Cleanup
        | Class::DryRun
        | Class::NotOwned
        | Class::LabelTooLong => Severity::Warning,
        Class::Flag { .. } | Class::Rbac { .. } | Class::Fatal { .. } => Severity::Fatal,
        _ => Severity::Error,
    }
}

/// What a class means to people, and what to do about it where something is to be done.
pub fn explain(class: &Class) -> (String, Option<&'static str>) {
    let (message, hint) = match class {
        Class::Healthy => ("all records are up to date", None),
        Class::Applied => ("changes were written to Route53", None),
        Class::Recovered => ("synchronisation works again", None),
        Class::NoZoneMatch => (
            "what was left to change lies in no zone that ExternalDNS manages",
            Some("compare --domain-filter, --zone-id-filter and --aws-zone-type with the hosted zones"),
        ),
        Class::NoZones => (
            "no hosted zone passes the filters, so no record can be written",
            Some("compare --domain-filter, --zone-id-filter and --aws-zone-type with the hosted zones"),
        ),
        Class::Trust => (
            "STS refuses the role to the ServiceAccount: the role's trust policy doesn't fit it, or the role ARN is wrong",
            Some(
                "the trust policy has to name the issuer, namespace and name of the ServiceAccount and the audience sts.amazonaws.com",
            ),
        ),
        Class::OidcProvider => (
            "IAM has no OIDC provider for the cluster's issuer",
            Some("irsactl utils associate-iam-oidc-provider creates it"),
        ),
        Class::NodeRole => (
            "the pod works with the role of its node: it was started before the ServiceAccount had its role-arn annotation",
            Some("restart the Deployment"),
        ),
        Class::NoCredentials => (
            "the pod has no AWS credentials",
            Some("the ServiceAccount needs the role-arn annotation before the pod starts; then restart the Deployment"),
        ),
        Class::FsGroup => {
            ("the process can't read its ServiceAccount token", Some("set fsGroup: 65534 in the pod's securityContext"))
        }
        Class::Conflict => (
            "a record of that name exists that ExternalDNS doesn't own",
            Some("irsactl get dnsrecords shows who owns which record"),
        ),
        Class::MissingTxt => (
            "a TXT record that has to go with its record doesn't exist, so Route53 refuses the deletion",
            Some("delete the record itself, or create the TXT record that the log names"),
        ),
        Class::Throttling => (
            "Route53 throttles: it takes five calls a second from an account",
            Some("a longer --interval and --extra-arg=--aws-zones-cache-duration=1h spare calls"),
        ),
        Class::Cleanup => (
            "a TXT record of an older naming is left beside the newer one",
            Some("irsactl get dnsrecords lists those that can go"),
        ),
        Class::DryRun => {
            ("ExternalDNS runs with --dry-run and changes nothing", Some("take --dry-run out of its arguments"))
        }
        Class::NotOwned => (
            "a host's record belongs to nobody or to another owner, so it is left alone",
            Some("irsactl get dnsrecords shows who owns which record"),
        ),
        Class::LabelTooLong => (
            "the TXT record of a host would have a label of over 63 characters, so its record gets no owner",
            Some("shorten the first label of the host, or the TXT prefix"),
        ),
        Class::Submit => ("changes to a zone were refused", None),
        other => return explain_with_detail(other),
    };
    (message.to_owned(), hint)
}

fn explain_with_detail(class: &Class) -> (String, Option<&'static str>) {
    match class {
        Class::Change { action, name, record_type } => (format!("{action} {name} {record_type}"), None),
        Class::Policy { action, resource } => {
            let on = resource.as_ref().map(|resource| format!(" on {resource}")).unwrap_or_default();
            (
                format!("the role lacks {action}{on}"),
                Some("its policy has to allow that for every zone that passes the filters"),
            )
        }
        Class::Flag { detail } => (
            format!("ExternalDNS refuses its arguments: {detail}"),
            Some("arguments and image have to be of one version"),
        ),
        Class::Rbac { kind } => {
            let kind = kind.as_deref().unwrap_or("a resource of its sources");
            (
                format!(
                    "ExternalDNS can't read {kind}: its ClusterRole doesn't allow it, isn't bound to its ServiceAccount, or the API isn't served"
                ),
                Some("irsactl install external-dns renders the ClusterRole that its sources need"),
            )
        }
        Class::Network { host } => (
            format!("{} can't be reached", host.as_deref().unwrap_or("an AWS endpoint")),
            Some("a private network needs a way to STS and Route53: a NAT gateway, a proxy or VPC endpoints"),
        ),
        Class::Region { domain } => (
            format!("this version doesn't know the region of load balancer {domain}: CNAME instead of ALIAS"),
            Some("a newer --external-dns-version may know it"),
        ),
        Class::SoftErrors(count) => (format!("{count} synchronisations in a row failed"), None),
        Class::Fatal { detail } => (format!("ExternalDNS exited: {detail}"), None),
        _ => (String::new(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(action: &str) -> Class {
        Class::Policy { action: action.to_owned(), resource: None }
    }

    #[test]
    fn p_lines_have_their_classes() {
        let change = Class::Change {
            action: "CREATE".to_owned(),
            name: "app.example.com".to_owned(),
            record_type: "A".to_owned(),
        };
        let flag = |detail: &str| Class::Flag { detail: detail.to_owned() };
        let rbac = |kind: &str| Class::Rbac { kind: Some(kind.to_owned()) };
        let cases = [
            ("All records are already up to date", Class::Healthy),
            (
                "All records are already up to date, there are no changes for the matching hosted zones",
                Class::NoZoneMatch,
            ),
            (
                r#"time="x" level=info msg="Desired change: CREATE app.example.com A" profile=default zoneID=/hostedzone/Z1"#,
                change.clone(),
            ),
            (r#"{"level":"info","msg":"Desired change: CREATE app.example.com A","profile":"default"}"#, change),
            ("2 record(s) were successfully updated", Class::Applied),
            (
                "operation error STS: AssumeRoleWithWebIdentity, https response error StatusCode: 403, api error AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity (consecutive soft errors: 3)",
                Class::Trust,
            ),
            (
                "InvalidIdentityToken: No OpenIDConnect provider found in your account for https://oidc.eks.us-east-1.amazonaws.com/id/ABC",
                Class::OidcProvider,
            ),
            (
                "User: arn:aws:sts::1:assumed-role/eksctl-eksdemo1-nodegroup-NodeInstanceRole/i-0abc12 is not authorized to perform: route53:ListHostedZones",
                Class::NodeRole,
            ),
            (
                "User: arn:aws:sts::1:assumed-role/external-dns/1700000 is not authorized to perform: route53:ListTagsForResources",
                policy("route53:ListTagsForResources"),
            ),
            (
                "failed to list resource records sets for zone /hostedzone/Z1: is not authorized to perform: route53:ListResourceRecordSets on resource: arn:aws:route53:::hostedzone/Z1 because no identity-based policy allows it",
                Class::Policy {
                    action: "route53:ListResourceRecordSets".to_owned(),
                    resource: Some("arn:aws:route53:::hostedzone/Z1".to_owned()),
                },
            ),
            (
                "level=fatal msg=\"flag parsing error: unknown long flag '--txt-new-format-only'\"",
                flag("flag parsing error: unknown long flag '--txt-new-format-only'"),
            ),
            ("unknown long flag '--txt-new-format-only'", flag("unknown long flag '--txt-new-format-only'")),
            (
                r#"level=fatal msg="config validation failed: --policy must be set explicitly (one of: sync, upsert-only, create-only)""#,
                flag(
                    "config validation failed: --policy must be set explicitly (one of: sync, upsert-only, create-only)",
                ),
            ),
            (
                r#"level=fatal msg="failed to sync *v1.EndpointSlice after 1m0s: context deadline exceeded""#,
                rbac("EndpointSlice"),
            ),
            ("failed to sync *v1.Endpoints: context deadline exceeded", rbac("Endpoints")),
            ("failed to sync cache: timed out waiting for the condition", Class::Rbac { kind: None }),
            ("open /var/run/secrets/eks.amazonaws.com/serviceaccount/token: permission denied", Class::FsGroup),
            ("InvalidChangeBatch: [Tried to create resource record set but it already exists]", Class::Conflict),
            (
                "InvalidChangeBatch: [Tried to delete resource record set [name='a-x.example.com.', type='TXT'] but it was not found]",
                Class::MissingTxt,
            ),
            ("Throttling: Rate exceeded", Class::Throttling),
            (
                "Could not find canonical hosted zone for domain x.elb.eastwest-1.amazonaws.com. This may be because your region is not supported yet.",
                Class::Region { domain: "x.elb.eastwest-1.amazonaws.com".to_owned() },
            ),
            ("Obsolete legacy TXT record \"cname-app\" can be removed; now using", Class::Cleanup),
            ("running in dry-run mode. No changes to DNS records will be made.", Class::DryRun),
            ("Failed to do run once: soft error (consecutive soft errors: 5)", Class::SoftErrors(5)),
            ("Reconciliation succeeded after 5 consecutive soft errors", Class::Recovered),
            (r"Applying provider record filter for domains: []", Class::NoZones),
            (
                "dial tcp: lookup sts.amazonaws.com:443: i/o timeout",
                Class::Network { host: Some("sts.amazonaws.com".to_owned()) },
            ),
            (
                "no EC2 IMDS role found, operation error ec2imds: GetMetadata, request send failed, dial tcp \
                 169.254.169.254:80: connect: network is unreachable",
                Class::NoCredentials,
            ),
            (r#"time="x" level=fatal msg="something new""#, Class::Fatal { detail: "something new".to_owned() }),
        ];
        for (line, class) in cases {
            assert_eq!(classify(line), Some(class), "{line}");
        }
        assert_eq!(classify("Applying provider record filter for domains: [example.com. .example.com.]"), None);
        assert_eq!(classify("Created Kubernetes client https://10.0.0.1:443"), None);
    }

    #[test]
    fn names_outside_the_zones_are_no_matter_where_records_were_written() {
        let left_over = "All records are already up to date, there are no changes for the matching hosted zones";
        let of = |lines: &[&str]| story(&lines.join("\n"));
        assert_eq!(of(&[left_over, left_over]).wrong, [(Class::NoZoneMatch, 1)]);
        let written = of(&["6 record(s) were successfully updated", left_over, left_over]);
        assert_eq!(written, Story { synced: true, wrong: Vec::new() });
    }

    #[test]
    fn some_arguments_keep_the_log_from_telling_of_syncs() {
        let tells = |args: &[&str]| tells_of_syncs(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(tells(&[]) && tells(&["--log-level=debug", "--log-format=json"]) && tells(&["--dry-run=false"]));
        assert!(!tells(&["--log-level=error"]) && !tells(&["--dry-run"]));
    }

    #[test]
    fn every_class_is_explained() {
        let line =
            "User: arn:aws:sts::1:assumed-role/external-dns/17 is not authorized to perform: route53:ListHostedZones";
        let class = classify(line).unwrap();
        assert_eq!(explain(&class).0, "the role lacks route53:ListHostedZones");
        assert_eq!(severity(&class), Severity::Error);
        assert!(explain(&Class::SoftErrors(2)).0.contains('2'));
        assert!(is_first_sync(&Class::NoZoneMatch) && severity(&Class::NoZoneMatch) == Severity::Warning);
        assert!(!is_first_sync(&Class::NoZones) && !is_first_sync(&Class::SoftErrors(1)));
    }
}
