//! Partitions and regions: everything follows from the region, and no list of regions stands in the way.

use serde_json::{Value, json};

use crate::support::{Run, irsactl};

/// Regions that exist and regions that don't yet, with their partitions and the suffixes of their services.
const REGIONS: [(&str, &str, &str); 12] = [
    ("us-west-2", "aws", "amazonaws.com"),
    ("ap-moon-7", "aws", "amazonaws.com"),
    ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
    ("cn-south-3", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-west-1", "aws-us-gov", "amazonaws.com"),
    ("us-gov-north-2", "aws-us-gov", "amazonaws.com"),
    ("us-iso-east-1", "aws-iso", "c2s.ic.gov"),
    ("us-isob-west-1", "aws-iso-b", "sc2s.sgov.gov"),
    ("eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk"),
    ("us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov"),
    ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
    ("eusc-de-west-9", "aws-eusc", "amazonaws.eu"),
];
const GOV: &str = "--region us-gov-west-1 --role-arn arn:aws-us-gov:iam::111122223333:role/dns";

fn run(line: &str) -> Run {
    Run::of(&mut irsactl(line.split_whitespace()))
}

/// Every ARN in a document.
fn arns(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) if text.starts_with("arn:") => vec![text],
        Value::Array(items) => items.iter().flat_map(arns).collect(),
        Value::Object(object) => object.values().flat_map(arns).collect(),
        _ => Vec::new(),
    }
}

/// What ExternalDNS is told.
fn args(line: &str) -> Vec<String> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(&run(line).ok().stdout).unwrap();
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    serde_json::from_value(args.clone()).unwrap()
}

#[test]
fn every_arn_is_of_the_region_s_partition() {
    for (region, partition, suffix) in REGIONS {
        let iam = format!("arn:{partition}:iam::111122223333");
        let issuer = format!("oidc.eks.{region}.{suffix}/id/A39A2842863C47208955D753DE205E6E");
        let place = format!("--oidc-issuer https://{issuer} --account-id 111122223333");
        // The region says it, or the partition does.
        for place in [format!("{place} --region {region}"), format!("{place} --partition {partition}")] {
            let trust = run(&format!("render trust-policy --name web {place}")).ok().json();
            assert_eq!(arns(&trust), [format!("{iam}:oidc-provider/{issuer}")]);
            let condition = &trust["Statement"][0]["Condition"]["StringEquals"];
            assert_eq!(condition[format!("{issuer}:aud")], "sts.amazonaws.com", "{region}");

            let managed = format!("arn:{partition}:iam::aws:policy/AmazonS3ReadOnlyAccess");
            let flags = format!("--attach-policy-arn policy/team/dns,{managed} --permissions-boundary policy/limit");
            let stack = run(&format!("render stack --name web {place} {flags}")).ok().json();
            let role = &stack["Resources"]["Role1"]["Properties"];
            assert_eq!(role["ManagedPolicyArns"], json!([format!("{iam}:policy/team/dns"), managed]));
            assert_eq!(role["PermissionsBoundary"], format!("{iam}:policy/limit"));
            assert_eq!(role["AssumeRolePolicyDocument"], trust);
        }
        for place in [format!("--region {region}"), format!("--partition {partition}")] {
            let policy = run(&format!("render policy --zone-id-filter Z0123456789 {place}")).ok().json();
            assert_eq!(arns(&policy), [format!("arn:{partition}:route53:::hostedzone/Z0123456789")]);
        }
        let manifest =
            format!("render manifest --cluster c --region {region} --account-id 111122223333 --role-arn role/dns");
        let yaml = run(&manifest).ok().shows(&[&format!("eks.amazonaws.com/role-arn: {iam}:role/dns"), region]).stdout;
        // The whole ARN says the same, and the account with it.
        let whole = format!("render manifest --cluster c --region {region} --role-arn {iam}:role/dns");
        assert_eq!(run(&whole).ok().stdout, yaml);
    }
    for bad in ["us-west", "US-WEST-2", "us_west_2", "us-west-two"] {
        run(&format!("render policy --region {bad}")).exits(2).says(&["--region"]);
    }
    run("render policy --partition aws-mars").exits(2).says(&["--partition", "aws-us-gov"]);
}

#[test]
fn an_arn_of_another_partition_is_refused_with_the_one_that_is_meant() {
    let place =
        "--oidc-issuer https://oidc.eks.cn-north-1.amazonaws.com.cn/id/A --account-id 111122223333 --region cn-north-1";
    for (line, meant) in [
        (
            format!("render stack --name web {place} --attach-policy-arn arn:aws:iam::aws:policy/ReadOnlyAccess"),
            "arn:aws-cn:iam::aws:policy/ReadOnlyAccess",
        ),
        (
            "render manifest --cluster c --region us-gov-west-1 --role-arn arn:aws:iam::111122223333:role/dns"
                .to_owned(),
            "arn:aws-us-gov:iam::111122223333:role/dns",
        ),
    ] {
        let run = run(&line).exits(2).says(&["is of partition aws", meant]);
        assert_eq!(run.stdout, "");
    }
    run("render manifest --cluster c --region us-west-2 --role-arn role/dns").exits(2).says(&["--account-id"]);
}

#[test]
fn gov_cloud_caveats_are_heeded() {
    let manifest = format!("render manifest --cluster c {GOV}");
    let has = |line: &str, arg: &str| args(line).iter().any(|given| given == arg);
    for arg in ["--aws-prefer-cname", "--aws-zone-type=private", "--txt-prefix=extdns-%{record_type}."] {
        assert!(has(&manifest, arg), "{arg}: {:?}", args(&manifest));
    }
    run(&manifest).ok().shows(&["AWS_REGION", "us-gov-west-1"]);
    assert!(has(&format!("{manifest} --txt-prefix team-"), "--txt-prefix=team-"));
    let suffix = args(&format!("{manifest} --txt-suffix=-team"));
    assert!(suffix.contains(&"--txt-suffix=-team".to_owned()) && !suffix.iter().any(|arg| arg.contains("txt-prefix")));
    assert!(!args(&format!("{manifest} --registry noop")).iter().any(|arg| arg.contains("txt")));
    let values = run(&format!("render helm-values --cluster c {GOV}")).ok();
    values.shows(&["txtPrefix: extdns-%{record_type}.", "--aws-prefer-cname", "--aws-zone-type=private"]);

    // What can't work there is refused before the first call.
    let install = "install external-dns --cluster c --region us-gov-west-1";
    for line in [manifest.as_str(), install] {
        for (flags, reason) in [
            ("--aws-zone-type public", "private zones only"),
            ("--extra-arg=--no-aws-prefer-cname", "no ALIAS records"),
            ("--aws-assume-role arn:aws:iam::111122223333:role/public", "no role can be assumed"),
            ("--external-dns-version v0.17.0 --txt-prefix=", "which Route53 refuses"),
        ] {
            let run = run(&format!("{line} {flags}")).exits(2).says(&[reason]);
            assert_eq!(run.stdout, "", "{flags}");
        }
    }
}

#[test]
fn other_partitions_get_what_works_there() {
    let manifest = |region: &str, partition: &str| {
        format!("render manifest --cluster c --region {region} --role-arn arn:{partition}:iam::111122223333:role/dns")
    };
    for (region, partition, _) in REGIONS.iter().filter(|(_, partition, _)| *partition != "aws-us-gov") {
        let line = manifest(region, partition);
        let own = ["--aws-prefer-cname", "--aws-zone-type", "--txt-prefix"];
        assert!(!args(&line).iter().any(|arg| own.iter().any(|flag| arg.starts_with(flag))), "{region}");
        let alias = ["aws", "aws-cn"].contains(partition);
        assert_eq!(run(&line).ok().stderr.contains("CNAME instead of ALIAS"), !alias, "{region}");
        run(&format!("{line} --aws-zone-type public")).ok();
    }
}
