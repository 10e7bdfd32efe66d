//! Documents of IAM, ARNs and issuers.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use irsactl::iam::arn::{Arn, Partition, check_policy, check_role, check_role_arn, policy_arn, role_arn};
use irsactl::iam::denial::Denial;
use irsactl::iam::intrinsics::resolve;
use irsactl::iam::policy::{Access, Need, PolicyDocument, access, external_dns, is_denied, missing, zone_id};
use irsactl::iam::trust::{Issuer, Subject, Verdict, trust_policy, verdict};
use irsactl::iam::wildcard::{covers, intersects, matches};

use crate::inputs::{json, mutated, text};
use crate::property::holds;

const ACCOUNT: &str = "111122223333";

fn issuer() -> Issuer {
    Issuer::parse("https://oidc.eks.us-west-2.amazonaws.com/id/A39A2842863C47208955D753DE205E6E").unwrap()
}

fn own_trust() -> PolicyDocument {
    trust_policy(&issuer(), &Partition::aws(), ACCOUNT, Some(&Subject::exact("default", "web")))
}

fn judged(document: &PolicyDocument, name: &str) -> Verdict {
    verdict(document, &issuer(), &issuer().provider_arn(&Partition::aws(), ACCOUNT), "default", name)
}

fn trusts() -> Vec<Value> {
    let mut loose = own_trust().0;
    loose["Statement"][0]["Condition"] = json!({"StringLike": {format!("{}:sub", issuer().host_path()): ["system:serviceaccount:*:w?b"]},
        "ForAnyValue:StringNotEqualsIfExists": {"aws:SourceVpc": "vpc-1"}, "Null": {"aws:x": true}});
    let service = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"},
        "Action": "sts:AssumeRole"}});
    vec![own_trust().0, loose, service]
}

#[test]
fn any_trust_policy_is_judged() {
    holds("trust policies", mutated(trusts()), |document| {
        let document = PolicyDocument(document);
        let found = judged(&document, "web");
        let _ = format!("{found:?}");
        if let Verdict::Refuses { reasons } = &found {
            prop_assert!(!reasons.is_empty());
            prop_assert!(reasons.iter().all(|reason| !reason.to_string().is_empty()));
        }
        prop_assert!(document.same_as(&document));
        // More permission never takes any away, and a Deny for everybody always does.
        let allow = own_trust().0["Statement"][0].clone();
        let wider = judged(&document.and(vec![allow]), "web");
        let denied = judged(&document, "web");
        let unrelated = document.0["Statement"].to_string().contains("Deny");
        prop_assert!(wider.allows() || unrelated, "{wider:?}");
        prop_assert!(!denied.allows() || wider.allows());
        let deny = json!({"Effect": "Deny", "Principal": "*", "Action": "sts:*"});
        prop_assert!(!judged(&document.and(vec![deny]), "web").allows());
        Ok(())
    });
}

#[test]
fn a_trust_policy_of_ours_trusts_nobody_else() {
    let inputs = (
        "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?",
        "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?",
        proptest::option::of("[a-z*?-]{1,8}"),
    );
    holds("subjects", inputs, |(name, other, pattern)| {
        let subject = Subject { namespace: "default".to_owned(), name: name.clone(), pattern: pattern.clone() };
        let document = trust_policy(&issuer(), &Partition::aws(), ACCOUNT, Some(&subject));
        let trusted = |asked: &str| pattern.as_ref().map_or(asked == name, |pattern| matches(pattern, asked));
        prop_assert_eq!(judged(&document, &name).allows(), trusted(&name));
        prop_assert_eq!(judged(&document, &other).allows(), trusted(&other));
        let encoded =
            percent_encoding::utf8_percent_encode(&document.to_json(), percent_encoding::NON_ALPHANUMERIC).to_string();
        prop_assert_eq!(PolicyDocument::from_encoded(&encoded).unwrap(), document);
        Ok(())
    });
}

#[test]
fn any_policy_is_evaluated() {
    let seeds = vec![
        external_dns(&Partition::aws(), &[]).0,
        external_dns(&Partition::aws(), &["Z1".to_owned(), "Z2".to_owned()]).0,
        json!({"Statement": {"Effect": "Deny", "NotAction": "route53:*", "NotResource": "arn:aws:route53:::hostedzone/Z?"}}),
    ];
    let needs = [
        Need::new("route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/*"),
        Need::new("route53:ListHostedZones", "*"),
        Need::new("s3:GetObject", "arn:aws:s3:::b/*"),
    ];
    holds("policies", (mutated(seeds.clone()), mutated(seeds)), |(one, other)| {
        let (one, other) = (PolicyDocument(one), PolicyDocument(other));
        prop_assert!(one.same_as(&one));
        prop_assert_eq!(one.same_as(&other), other.same_as(&one));
        let _ = (one.size(), one.pretty());
        let resolved = one.resolved(&Partition::aws());
        prop_assert_eq!(&resolved.resolved(&Partition::aws()), &resolved);
        for need in &needs {
            let found = access(&[&one, &other], need);
            prop_assert_eq!(found, access(&[&other, &one], need));
            prop_assert!(found == Access::Missing || !is_denied(&[&one, &other], need));
            // What everybody is denied is never granted.
            let deny = PolicyDocument(json!({"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}));
            prop_assert_eq!(access(&[&one, &other, &deny], need), Access::Missing);
            if one.same_as(&other) {
                prop_assert_eq!(access(&[&one], need), access(&[&other], need));
            }
        }
        let all = PolicyDocument(json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}));
        let (alone, beside) = (missing(&[&one], &needs), missing(&[&one, &all], &needs));
        prop_assert!(beside.iter().all(|need| alone.contains(need)), "permission takes some away");
        Ok(())
    });
}

#[test]
fn any_text_is_an_encoded_document_or_refused() {
    holds("encoded documents", prop_oneof![text(), json().prop_map(|value| value.to_string())], |text| {
        if let Ok(document) = PolicyDocument::from_encoded(&text) {
            prop_assert!(document.0.is_object());
            prop_assert_eq!(PolicyDocument::from_encoded(&document.to_json()).unwrap(), document);
        }
        if let Ok(policy) = PolicyDocument::parse(&text) {
            prop_assert_eq!(PolicyDocument::parse(&policy.to_json()).unwrap(), policy);
        }
        let _ = resolve(&serde_json::from_str(&text).unwrap_or_default(), &Partition::aws(), None);
        Ok(())
    });
}

#[test]
fn an_arn_that_is_accepted_is_kept() {
    let arn = "arn:(aws|aws-cn|aws-us-gov|x)?:(iam|s3)?:[a-z0-9-]{0,8}:([0-9]{12}|aws|)?:(role|policy)/[ -~]{0,12}";
    let short = "(role|policy)/[ -~é]{0,9}";
    holds("ARNs", prop_oneof![arn.prop_map(String::from), short.prop_map(String::from), text()], |text| {
        if let Ok(arn) = text.parse::<Arn>() {
            prop_assert_eq!(arn.to_string(), &*text);
            prop_assert!(arn.resource.contains(arn.name()) && arn.resource.starts_with(arn.kind()));
        }
        for (check, complete) in [
            (check_policy as fn(&str) -> _, policy_arn as fn(&str, &Partition, &str) -> Result<String, String>),
            (check_role, role_arn),
        ] {
            let complete = |text: &str| complete(text, &Partition::aws(), ACCOUNT);
            if let Ok(whole) = complete(&text) {
                prop_assert!(check(&text).is_ok() && whole.parse::<Arn>().is_ok(), "{}", whole);
                prop_assert!(whole.ends_with(&text));
                prop_assert_eq!(complete(&whole), Ok(whole));
            } else if check(&text).is_ok() {
                let foreign = text.parse::<Arn>().is_ok_and(|arn| arn.partition != "aws");
                prop_assert!(foreign, "{}", text);
            }
        }
        if check_role_arn(&text).is_ok() {
            prop_assert!(check_role(&text).is_ok());
        }
        if let Ok(id) = zone_id(&text) {
            prop_assert!(id.chars().all(|c| c.is_ascii_alphanumeric()), "{}", id);
        }
        let _ = (Partition::new(&text), Partition::of_region(&text), Denial::parse(&text));
        Ok(())
    });
}

#[test]
fn an_issuer_that_is_accepted_is_kept() {
    let url = "(https?|HTTPS)://[a-zA-Z0-9.\\[\\]:-]{0,20}(:[0-9]{0,6})?(/[!-~]{0,20})?";
    let inputs = prop_oneof![3 => url.prop_map(String::from), 1 => text(), 1 => text().prop_map(|text| format!("https://{text}"))];
    holds("issuer URLs", inputs, |url| {
        let Ok(issuer) = Issuer::parse(&url) else { return Ok(()) };
        prop_assert_eq!(issuer.as_url(), &*url);
        prop_assert!(!issuer.host().is_empty() && !issuer.host().contains('/'));
        let again = Issuer::parse(&issuer.provider_url()).map_err(TestCaseError::fail)?;
        prop_assert_eq!(again.host_path(), issuer.host_path());
        let arn = issuer.provider_arn(&Partition::aws(), ACCOUNT);
        let arn: Arn = arn.parse().map_err(TestCaseError::fail)?;
        prop_assert_eq!(arn.kind(), "oidc-provider");
        let trust = trust_policy(&issuer, &Partition::aws(), ACCOUNT, Some(&Subject::exact("n", "s")));
        let provider = issuer.provider_arn(&Partition::aws(), ACCOUNT);
        prop_assert!(verdict(&trust, &issuer, &provider, "n", "s").allows());
        prop_assert!(!verdict(&trust, &issuer, &provider, "n", "t").allows());
        Ok(())
    });
}

#[test]
fn any_pattern_is_matched() {
    let pattern = || prop_oneof![3 => "[ab*?]{0,40}".prop_map(String::from), 1 => text().prop_map(|text| text.chars().take(300).collect())];
    holds("patterns", (pattern(), pattern(), select(&["", "a", "ab", "ba"][..])), |(one, other, literal)| {
        prop_assert!(covers(&one, &one) && covers("*", &one));
        prop_assert_eq!(intersects(&one, &other), intersects(&other, &one));
        prop_assert!(!matches(&one, literal) || intersects(&one, literal));
        Ok(())
    });
}
