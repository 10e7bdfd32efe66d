use crate::support::Sandbox;
