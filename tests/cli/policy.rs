//! `create policy`, `utils associate-iam-oidc-provider`.
