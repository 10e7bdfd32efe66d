//! Region and credentials, from where every AWS tool takes them.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::Mutex;
use tracing::debug;

use super::error::{all_causes, innermost};
use super::{Aws, ca};
use crate::error::{Error, ErrorCode, Result};
use crate::shell::Command;
use crate::wait::Wait;

/// Attempts of a call, the first included. CloudFormation and IAM throttle early and for long: even where every third
/// call is throttled, none of a thousand calls fails.
const ATTEMPTS: u32 = 12;
/// The longest first pause; the following ones double.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// The longest of all pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Time for a call with all its attempts.
const CALL: Duration = Duration::from_mins(1);
/// Time for one attempt.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Time for the instance metadata service, which answers at once or isn't there: a laptop must not wait for it.
const METADATA: Duration = Duration::from_secs(1);
/// Credentials are renewed this long before they expire.
const MARGIN: Duration = Duration::from_mins(5);

/// What the command line says about AWS; all else comes from the environment and AWS's own files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--region`
    pub region: Option<String>,
    /// `--profile`: its credentials are used even where the environment has others, as in the AWS CLI.
    pub profile: Option<String>,
}

impl Aws {
    /// Finds region and credentials.
    ///
    /// # Errors
    /// `NoRegion`, `NoCredentials` (naming a profile that is missing), `ExpiredCredentials`, `Io` for `AWS_CA_BUNDLE`.
    pub async fn connect(options: &Options, wait: Wait) -> Result<Self> {
        let profile = options.profile.clone().or_else(profile_of_the_environment);
        let metadata = metadata_client();
        let config = settings(options, metadata.clone()).await?;
        let Some(region) = config.region().cloned() else {
            return Err(no_region(profile.as_deref(), &config).await);
        };
        let provider = match &options.profile {
            Some(profile) => SharedCredentialsProvider::new(of_profile(profile, &config)),
            None => SharedCredentialsProvider::new(default_chain(metadata, &config).await),
        };
        let credentials = match provider.provide_credentials().await {
            Ok(credentials) => credentials,
            Err(error) => return Err(no_credentials(&error, profile.as_deref(), &config).await),
        };
        debug!(region = region.as_ref(), profile, "AWS credentials found");
        let renew = renewal(is_sso(&credentials), profile.as_deref());
        let provider = Cached { source: provider, current: Mutex::new(Some(credentials)) };
        let provider = SharedCredentialsProvider::new(provider);
        let config = config.into_builder().credentials_provider(provider).build();
        Ok(Self::new(config, region.to_string(), wait, renew))
    }

    /// The same region and settings with other credentials, such as those of a role.
    pub(super) fn with_credentials(&self, credentials: Credentials, renew: String) -> Self {
        let config = self
            .inner
            .config
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .identity_cache(aws_config::identity::IdentityCache::lazy().build())
            .build();
        Self::new(config, self.inner.region.clone(), self.inner.wait.clone(), renew)
    }

    /// The credentials that sign the calls.
    pub(super) async fn credentials(&self) -> Result<Credentials> {
        let missing = || Error::new(ErrorCode::NoCredentials, "no AWS credentials");
        let provider = self.inner.config.credentials_provider().ok_or_else(missing)?;
        let credentials = tokio::select! {
            credentials = provider.provide_credentials() => credentials,
            end = self.wait().ended() => return Err(end.cause("the AWS credentials were being renewed")),
        };
        credentials.map_err(|error| missing().cause(innermost(&error)).hint(&self.inner.renew))
    }
}

/// Credentials that are fetched again only shortly before they expire: the first ones are fetched before any client
/// exists, and signing an EKS token must not run a credential process again.
struct Cached {
    source: SharedCredentialsProvider,
    current: Mutex<Option<Credentials>>,
}

impl Cached {
    async fn get(&self) -> Result<Credentials, CredentialsError> {
        let mut current = self.current.lock().await;
        let fresh = |c: &Credentials| c.expiry().is_none_or(|end| end > SystemTime::now() + MARGIN);
        if let Some(credentials) = current.as_ref().filter(|c| fresh(c)) {
            return Ok(credentials.clone());
        }
        let credentials = self.source.provide_credentials().await?;
        *current = Some(credentials.clone());
        Ok(credentials)
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cached")
    }
}

impl ProvideCredentials for Cached {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get())
    }
}

/// A client of the instance metadata service that gives up soon.
fn metadata_client() -> imds::Client {
    imds::Client::builder().max_attempts(1).connect_timeout(METADATA).read_timeout(METADATA).build()
}

/// The region that the command line, the environment or a profile names: without credentials or a call.
pub async fn region_at_hand(options: &Options) -> Option<String> {
    at_hand(options).region().await.map(|region| region.to_string())
}

fn at_hand(options: &Options) -> RegionProviderChain {
    let mut files = ProfileFileRegionProvider::builder();
    if let Some(profile) = &options.profile {
        files = files.profile_name(profile);
    }
    RegionProviderChain::first_try(options.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(files.build())
}

/// All but the credentials.
async fn settings(options: &Options, metadata: imds::Client) -> Result<SdkConfig> {
    let region = at_hand(options).or_else(ImdsRegionProvider::builder().imds_client(metadata).build());
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .no_credentials()
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(ATTEMPTS)
                .with_initial_backoff(FIRST_PAUSE)
                .with_max_backoff(LONGEST_PAUSE),
        )
        .timeout_config(timeouts());
    // Calls that fetch credentials carry this; it can't hold a slash.
    if let Ok(name) = AppName::new(super::USER_AGENT.replace('/', "-")) {
        loader = loader.app_name(name);
    }
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(client) = ca::client()? {
        loader = loader.http_client(client);
    }
    Ok(loader.load().await)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_timeout(CALL).operation_attempt_timeout(ATTEMPT).build()
}

/// Settings for the calls that fetch credentials (STS, SSO).
fn provider_config(config: &SdkConfig) -> ProviderConfig {
    let provider = ProviderConfig::without_region()
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_timeout_config(timeouts())
        .with_region(config.region().cloned())
        .with_use_fips(config.use_fips())
        .with_use_dual_stack(config.use_dual_stack());
    match config.http_client() {
        Some(client) => provider.with_http_client(client),
        None => provider,
    }
}

async fn default_chain(metadata: imds::Client, config: &SdkConfig) -> DefaultCredentialsChain {
    let chain = DefaultCredentialsChain::builder().imds_client(metadata).configure(provider_config(config));
    chain.build().await
}

/// A profile that was asked for beats credentials in the environment.
fn of_profile(profile: &str, config: &SdkConfig) -> ProfileFileCredentialsProvider {
    ProfileFileCredentialsProvider::builder().configure(&provider_config(config)).profile_name(profile).build()
}

fn profile_of_the_environment() -> Option<String> {
    ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].iter().find_map(|name| std::env::var(name).ok()).filter(|p| !p.is_empty())
}

/// A profile that is missing explains a missing region.
async fn no_region(profile: Option<&str>, config: &SdkConfig) -> Box<Error> {
    if let Some(profile) = profile
        && let Err(error) = of_profile(profile, config).provide_credentials().await
        && is_missing(&all_causes(&error))
    {
        return explain(&all_causes(&error), Some(profile));
    }
    Error::new(ErrorCode::NoRegion, "no AWS region is configured")
        .hint("give --region, set AWS_REGION, or run: aws configure set region REGION")
}

async fn no_credentials(error: &CredentialsError, profile: Option<&str>, config: &SdkConfig) -> Box<Error> {
    let Some(profile) = profile else {
        return explain(&all_causes(error), None);
    };
    // The default chain goes on behind a profile that gives nothing, and ends with the instance metadata service:
    // the profile itself knows why.
    let reason = match of_profile(profile, config).provide_credentials().await {
        Err(reason) => all_causes(&reason),
        Ok(_) => all_causes(error),
    };
    explain(&reason, Some(profile))
}

fn is_missing(causes: &str) -> bool {
    causes.contains("was not defined")
}

/// Reads the words of AWS's credential providers, which have no codes.
fn explain(causes: &str, profile: Option<&str>) -> Box<Error> {
    let lower = causes.to_lowercase();
    let Some(profile) = profile else {
        let error = Error::new(ErrorCode::NoCredentials, "no AWS credentials were found");
        let sources = ["imds", "no providers in chain", "metadata"];
        let error = if sources.iter().any(|words| lower.contains(words)) { error } else { error.cause(causes) };
        return error
            .hint("set AWS_PROFILE or give --profile (aws configure list-profiles shows them), or run: aws configure");
    };
    if is_missing(causes) {
        return Error::new(ErrorCode::NoCredentials, format!("the AWS profile `{profile}` doesn't exist"))
            .hint("these exist: aws configure list-profiles");
    }
    let sso = lower.contains("sso");
    if sso && ["expired", "token", "unauthorized"].iter().any(|word| lower.contains(word)) {
        return Error::new(
            ErrorCode::ExpiredCredentials,
            format!("the SSO session of profile `{profile}` has expired"),
        )
        .hint(login(profile));
    }
    let error = Error::new(ErrorCode::NoCredentials, format!("the AWS profile `{profile}` gives no credentials"));
    let error = if lower.contains("was not enabled") { error } else { error.cause(causes) };
    error.hint(Command::new("aws configure list").with("--profile", profile))
}

/// Credentials tell their provider only in their debug text, which hides the secrets.
fn is_sso(credentials: &Credentials) -> bool {
    format!("{credentials:?}").contains("provider_name: \"SSO\"")
}

fn login(profile: &str) -> Command {
    Command::new("aws sso login").with("--profile", profile)
}

/// What renews the credentials.
fn renewal(sso: bool, profile: Option<&str>) -> String {
    match (sso, profile) {
        (true, Some(profile)) => login(profile).into(),
        (true, None) => "aws sso login".to_owned(),
        (false, Some(profile)) => format!("renew the credentials of profile `{profile}`, then run the command again"),
        (false, None) => "renew the AWS credentials, then run the command again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_profile_is_named() {
        let error = explain("profile `nope` was not defined: x", Some("nope"));
        assert_eq!(error.code, ErrorCode::NoCredentials);
        assert!(error.message.contains("`nope`"));
    }

    #[test]
    fn metadata_failures_say_no_credentials() {
        let raw = "an error occurred while loading credentials: failed to load IMDS session token: request forbidden";
        let error = explain(raw, None);
        assert_eq!(error.code, ErrorCode::NoCredentials);
        assert!(error.causes.is_empty());
    }

    #[test]
    fn expired_sso_session_names_the_login() {
        let error = explain("an error occurred: the SSO token has expired", Some("dev"));
        assert_eq!(error.code, ErrorCode::ExpiredCredentials);
        assert_eq!(error.hint.as_deref(), Some("aws sso login --profile dev"));
    }

    #[test]
    fn sso_credentials_are_renewed_by_a_login() {
        let of = |provider| Credentials::new("AKID", "secret", None, None, provider);
        assert_eq!(renewal(is_sso(&of("SSO")), Some("dev")), "aws sso login --profile dev");
        assert!(!is_sso(&of("Environment")));
    }

    #[tokio::test]
    async fn credentials_are_kept_until_they_expire() {
        let key = |end| Credentials::new("AKID", "secret", None, end, "test");
        let source = SharedCredentialsProvider::new(Credentials::new("NEW", "secret", None, None, "test"));
        let soon = Some(SystemTime::now() + Duration::from_mins(1));
        let cached = Cached { source: source.clone(), current: Mutex::new(Some(key(None))) };
        assert_eq!(cached.get().await.unwrap().access_key_id(), "AKID");
        let cached = Cached { source, current: Mutex::new(Some(key(soon))) };
        assert_eq!(cached.get().await.unwrap().access_key_id(), "NEW");
    }
}
