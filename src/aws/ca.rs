//! `AWS_CA_BUNDLE`, which other AWS tools honour and the SDK for Rust doesn't.

use std::path::Path;

use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::{Error, ErrorCode, Result};
use crate::files;

/// A client that trusts the authorities of `AWS_CA_BUNDLE` and no others, as the AWS CLI does; `None` without it.
///
/// # Errors
/// `Io` when the file can't be read or holds no certificates.
pub(super) fn client() -> Result<Option<SharedHttpClient>> {
    let Some(path) = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) else { return Ok(None) };
    let path = Path::new(&path);
    let unusable = |reason: String| {
        Error::new(ErrorCode::Io, format!("AWS_CA_BUNDLE={} can't be used", path.display())).cause(reason)
    };
    let pem = files::whole(path).map_err(|error| unusable(error.to_string()))?;
    check(&pem).map_err(unusable)?;
    let store = TrustStore::empty().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(store).build();
    let context = context.map_err(|error| unusable(error.to_string()))?;
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context.clone())
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(aws_sdk_sts::config::RuntimeComponents::sleep_impl));
        connector.build()
    });
    Ok(Some(client))
}

/// The SDK panics at the first connection where a certificate is malformed.
fn check(pem: &[u8]) -> std::result::Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("malformed PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("malformed certificate: {error}"))?;
    }
    if roots.is_empty() { Err("it holds no certificate in PEM".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_bundles_are_refused() {
        assert!(check(b"").unwrap_err().contains("no certificate"));
        assert!(
            check(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap_err().contains("malformed")
        );
    }
}
