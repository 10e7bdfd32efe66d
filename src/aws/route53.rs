//! Hosted zones and their records; read only.

use super::{Aws, found};
use crate::error::Result;
use crate::externaldns::registry::Record;

pub use crate::externaldns::filter::Zone;

impl Aws {
    /// All hosted zones of the account.
    pub async fn zones(&self) -> Result<Vec<Zone>> {
        let mut zones = Vec::new();
        let mut pages = self.route53().list_hosted_zones().into_paginator().send();
        while let Some(page) = self.page("route53:ListHostedZones", "", pages.next()).await? {
            zones.extend(page.hosted_zones.into_iter().map(read_zone));
        }
        Ok(zones)
    }

    /// A hosted zone by its bare id.
    pub async fn zone(&self, id: &str) -> Result<Option<Zone>> {
        let answer = self.send("route53:GetHostedZone", id, self.route53().get_hosted_zone().id(id).send()).await;
        Ok(found(answer)?.and_then(|answer| answer.hosted_zone).map(read_zone))
    }

    /// All records of a hosted zone, in Route53's order.
    pub async fn records(&self, zone_id: &str) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut from = None;
        loop {
            let mut request = self.route53().list_resource_record_sets().hosted_zone_id(zone_id);
            if let Some((name, kind, identifier)) = from.take() {
                request =
                    request.start_record_name(name).set_start_record_type(kind).set_start_record_identifier(identifier);
            }
            let page = self.send("route53:ListResourceRecordSets", zone_id, request.send()).await?;
            records.extend(page.resource_record_sets.into_iter().map(record));
            match page.next_record_name {
                Some(name) if page.is_truncated => {
                    from = Some((name, page.next_record_type, page.next_record_identifier));
                }
                _ => return Ok(records),
            }
        }
    }
}

fn read_zone(zone: aws_sdk_route53::types::HostedZone) -> Zone {
    let (private, comment) = zone.config.map_or((false, None), |config| (config.private_zone, config.comment));
    Zone {
        id: zone.id.rsplit('/').next().unwrap_or_default().to_owned(),
        name: zone.name.strip_suffix('.').unwrap_or(&zone.name).to_owned(),
        private,
        comment: comment.unwrap_or_default(),
    }
}

fn record(set: aws_sdk_route53::types::ResourceRecordSet) -> Record {
    let values = set.resource_records.unwrap_or_default().into_iter().map(|record| record.value).collect();
    Record {
        name: set.name,
        record_type: set.r#type.as_str().to_owned(),
        set_identifier: set.set_identifier,
        alias: set.alias_target.map(|target| target.dns_name),
        values,
    }
}
