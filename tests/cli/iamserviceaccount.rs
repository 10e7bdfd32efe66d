//! `create|get|delete iamserviceaccount`.
