//! The kubeconfig: which files it is, and the files that it names.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, Cluster, Kubeconfig, KubeconfigError};

use crate::files::{self, LARGEST};

/// The file at `path`, else those of `$KUBECONFIG` together, else `~/.kube/config`.
pub(super) fn read(path: Option<&str>) -> Result<Kubeconfig, String> {
    let files: Vec<PathBuf> = match (path, std::env::var_os("KUBECONFIG")) {
        (Some(path), _) => vec![path.into()],
        (None, Some(list)) => std::env::split_paths(&list).filter(|file| !file.as_os_str().is_empty()).collect(),
        (None, None) => Vec::new(),
    };
    if files.is_empty() {
        let home = std::env::home_dir().ok_or("neither $KUBECONFIG nor $HOME is set")?;
        return read_file(&home.join(".kube/config"));
    }
    files.iter().try_fold(Kubeconfig::default(), |all, file| all.merge(read_file(file)?).map_err(|err| err.to_string()))
}

/// kube reads a file to its end, wherever that is.
fn read_file(file: &Path) -> Result<Kubeconfig, String> {
    let unreadable = |err: std::io::Error| format!("{}: {err}", file.display());
    let meta = std::fs::metadata(file).map_err(unreadable)?;
    let read = if meta.is_file() && meta.len() <= LARGEST as u64 {
        Kubeconfig::read_from(file)
    } else {
        let bytes = files::whole(file).map_err(unreadable)?;
        Kubeconfig::from_yaml(&String::from_utf8_lossy(&bytes))
    };
    read.map_err(|err| match err {
        // The lines around the mistake may hold a token.
        KubeconfigError::Parse(error) => format!("{}: {}", file.display(), error.without_snippet()),
        other => other.to_string(),
    })
}

/// The cluster and the user of `context`, else of the current one.
fn chosen<'k>(
    kubeconfig: &'k mut Kubeconfig,
    context: Option<&str>,
) -> Option<(&'k mut Cluster, Option<&'k mut AuthInfo>)> {
    let context = context.or(kubeconfig.current_context.as_deref())?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == context)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter_mut().find(|named| named.name == context.cluster)?.cluster.as_mut()?;
    let user = kubeconfig.auth_infos.iter_mut().find(|named| Some(&named.name) == context.user.as_ref());
    Some((cluster, user.and_then(|named| named.auth_info.as_mut())))
}

/// `proxy-url` of the cluster that `context` names.
pub(super) fn proxy_url(kubeconfig: &mut Kubeconfig, context: Option<&str>) -> Option<String> {
    let (cluster, _) = chosen(kubeconfig, context)?;
    cluster.proxy_url.clone().filter(|url| !url.is_empty())
}

/// Puts the certificates and the key of files into the places of those that the kubeconfig itself holds: kube would
/// read the files to their end, wherever that is.
pub(super) fn read_certificates(kubeconfig: &mut Kubeconfig, context: Option<&str>) -> Result<(), String> {
    let Some((cluster, user)) = chosen(kubeconfig, context) else { return Ok(()) };
    if let (Some(file), None) = (&cluster.certificate_authority, &cluster.certificate_authority_data) {
        cluster.certificate_authority_data = Some(encoded(file)?);
    }
    let Some(user) = user else { return Ok(()) };
    if let (Some(file), None) = (&user.client_certificate, &user.client_certificate_data) {
        user.client_certificate_data = Some(encoded(file)?);
    }
    if let (Some(file), None) = (&user.client_key, &user.client_key_data) {
        user.client_key_data = Some(encoded(file)?.into());
    }
    Ok(())
}

fn encoded(file: &str) -> Result<String, String> {
    files::whole(Path::new(file)).map(|bytes| STANDARD.encode(bytes)).map_err(|err| format!("{file}: {err}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_of_the_kubeconfig_is_that_of_its_context() {
        let text = "
clusters:
- {name: a, cluster: {server: https://a, proxy-url: http://proxy-a:1}}
- {name: b, cluster: {server: https://b}}
contexts:
- {name: one, context: {cluster: a, user: u}}
- {name: two, context: {cluster: b, user: u}}
current-context: one
";
        let mut kubeconfig = Kubeconfig::from_yaml(text).unwrap();
        assert_eq!(proxy_url(&mut kubeconfig, None).as_deref(), Some("http://proxy-a:1"));
        assert_eq!(proxy_url(&mut kubeconfig, Some("two")), None);
    }

    #[test]
    fn files_with_certificates_are_read_no_further_than_a_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "PEM").unwrap();
        let with = |file: &str| {
            Kubeconfig::from_yaml(&format!(
                "
clusters: [{{name: a, cluster: {{server: https://a, certificate-authority: {file}}}}}]
users: [{{name: u, user: {{client-certificate: {file}, client-key: {file}}}}}, {{name: v, user: {{client-key: /none}}}}]
contexts: [{{name: one, context: {{cluster: a, user: u}}}}]
current-context: one
"
            ))
            .unwrap()
        };
        let mut kubeconfig = with(file.path().to_str().unwrap());
        read_certificates(&mut kubeconfig, None).unwrap();
        let (cluster, user) = chosen(&mut kubeconfig, None).unwrap();
        assert_eq!(cluster.certificate_authority_data, Some(STANDARD.encode("PEM")));
        assert_eq!(user.unwrap().client_certificate_data, Some(STANDARD.encode("PEM")));
        let error = read_certificates(&mut with("/dev/zero"), None).unwrap_err();
        assert!(error.starts_with("/dev/zero: ") && error.contains("too large"), "{error}");
    }
}
