//! The bearer token that EKS takes: a presigned `sts:GetCallerIdentity`.
//!
//! Source: aws-iam-authenticator, "API Authorization from Outside a Cluster"; eksctl and `aws eks get-token` make the
//! same one.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Aws;
use crate::error::{Error, ErrorCode, Result};

/// How long EKS takes a token for, from its signing.
pub const LIFETIME: Duration = Duration::from_mins(14);

/// `X-Amz-Expires`; EKS has a limit of its own.
const EXPIRES: Duration = Duration::from_mins(1);

impl Aws {
    /// A token for the Kubernetes API of an EKS cluster, signed without a call. It is good for [`LIFETIME`].
    ///
    /// # Errors
    /// `NoCredentials` when the credentials can't be renewed.
    pub async fn cluster_token(&self, cluster: &str) -> Result<String> {
        let credentials = self.credentials().await?;
        let url = presign(&self.sts_url().await?, self.region(), cluster, credentials, SystemTime::now());
        let unsigned = |reason: String| {
            Error::new(ErrorCode::Internal, format!("the token for cluster {cluster} could not be signed"))
                .cause(reason)
        };
        let url = url.map_err(unsigned)?;
        Ok(format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url)))
    }

    /// The regional STS endpoint of the partition. An overridden one isn't taken: no cluster accepts its host.
    async fn sts_url(&self) -> Result<String> {
        let config = &self.inner.config;
        let params = Params::builder()
            .region(self.region())
            .use_fips(config.use_fips().unwrap_or_default())
            .use_dual_stack(config.use_dual_stack().unwrap_or_default())
            .use_global_endpoint(false)
            .build();
        let unknown = |reason: String| {
            Error::new(ErrorCode::Aws, format!("no STS endpoint is known for region {}", self.region())).cause(reason)
        };
        let params = params.map_err(|error| unknown(error.to_string()))?;
        let endpoint = ResolveEndpoint::resolve_endpoint(&DefaultResolver::new(), &params).await;
        Ok(endpoint.map_err(|error| unknown(error.to_string()))?.url().to_owned())
    }
}

/// A presigned URL of `GetCallerIdentity`; a secret, as the token is.
fn presign(
    sts: &str,
    region: &str,
    cluster: &str,
    credentials: Credentials,
    time: SystemTime,
) -> std::result::Result<String, String> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(EXPIRES);
    let identity = credentials.into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(time)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?;
    let base = sts.trim_end_matches('/');
    let mut request = http::Request::get(format!("{base}/?Action=GetCallerIdentity&Version=2011-06-15"))
        .body(())
        .map_err(|error| error.to_string())?;
    let url = request.uri().to_string();
    let headers = std::iter::once(("x-k8s-aws-id", cluster));
    let signable =
        SignableRequest::new("GET", url, headers, SignableBody::empty()).map_err(|error| error.to_string())?;
    let (instructions, _) = sign(signable, &params.into()).map_err(|error| error.to_string())?.into_parts();
    instructions.apply_to_request_http1x(&mut request);
    Ok(request.uri().to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// 2026-11-23T12:00:00Z
    fn instant() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(498_732)
    }

    fn parts(url: &str) -> (&str, BTreeSet<&str>) {
        let (base, query) = url.split_once('?').unwrap();
        (base, query.split('&').collect())
    }

    /// The URLs are those of botocore's `RequestSigner.generate_presigned_url` for the same instant.
    #[test]
    fn url_is_the_one_that_botocore_signs() {
        let credentials = Credentials::new("AKIDEXAMPLE", SECRET, None, None, "test");
        let url = presign("https://sts.us-west-2.amazonaws.com", "us-west-2", "eksdemo1", credentials, instant());
        let golden = "https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\
            &X-Amz-Algorithm=AWS4-HMAC-SHA256\
            &X-Amz-Credential=AKIDEXAMPLE%2F20261123%2Fus-west-2%2Fsts%2Faws4_request\
            &X-Amz-Date=20261123T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id\
            &X-Amz-Signature=4e7304eba964b525b7e242b36d327a02f42553a9979877dbef800531f6e9be97";
        assert_eq!(parts(&url.unwrap()), parts(golden));
    }

    #[test]
    fn url_with_a_session_token_in_another_partition() {
        let token = Some("FwoGZXIvYXdzEXAMPLETOKEN+/=".to_owned());
        let credentials = Credentials::new("AKIDEXAMPLE", SECRET, token, None, "test");
        let url = presign("https://sts.cn-north-1.amazonaws.com.cn", "cn-north-1", "eksdemo1", credentials, instant());
        let golden = "https://sts.cn-north-1.amazonaws.com.cn/?Action=GetCallerIdentity&Version=2011-06-15\
            &X-Amz-Algorithm=AWS4-HMAC-SHA256\
            &X-Amz-Credential=AKIDEXAMPLE%2F20261123%2Fcn-north-1%2Fsts%2Faws4_request\
            &X-Amz-Date=20261123T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id\
            &X-Amz-Security-Token=FwoGZXIvYXdzEXAMPLETOKEN%2B%2F%3D\
            &X-Amz-Signature=abc4b23a846218f8c3a91ee3d31de716e24ac5dcb869f72b871f12e78ab25ec0";
        assert_eq!(parts(&url.unwrap()), parts(golden));
    }

    fn aws(region: &'static str, fips: bool, dual_stack: bool) -> Aws {
        let config = aws_config::SdkConfig::builder()
            .region(aws_config::Region::new(region))
            .endpoint_url("http://127.0.0.1:1")
            .use_fips(fips)
            .use_dual_stack(dual_stack)
            .build();
        let wait = crate::wait::Wait::new(tokio_util::sync::CancellationToken::new(), Duration::from_mins(1));
        Aws::new(config, region.to_owned(), wait, String::new())
    }

    #[tokio::test]
    async fn host_is_the_regional_one_of_the_partition() {
        let url = async |region, fips, dual| aws(region, fips, dual).sts_url().await.unwrap();
        assert_eq!(url("us-east-1", false, false).await, "https://sts.us-east-1.amazonaws.com");
        assert_eq!(url("us-west-2", true, false).await, "https://sts-fips.us-west-2.amazonaws.com");
        assert_eq!(url("eu-west-1", false, true).await, "https://sts.eu-west-1.api.aws");
        assert_eq!(url("cn-north-1", false, false).await, "https://sts.cn-north-1.amazonaws.com.cn");
        assert_eq!(url("us-gov-west-1", true, false).await, "https://sts.us-gov-west-1.amazonaws.com");
    }
}
