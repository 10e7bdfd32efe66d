//! `uninstall external-dns`.
