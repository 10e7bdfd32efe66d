//! Hosted zones and their records; read only.

use aws_sdk_route53::types::{CidrRoutingConfig, Coordinates, GeoLocation, GeoProximityLocation, ResourceRecordSet};
use serde_json::{Value, json};

use super::{Aws, found};
use crate::error::Result;
use crate::externaldns::registry::{Record, normalize};

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
        self.sets(zone_id, |set| Record::read(&set)).await
    }

    /// All record sets of a hosted zone, each as the `ResourceRecordSet` of the API in JSON: what a deletion must repeat
    /// exactly.
    pub async fn record_sets(&self, zone_id: &str) -> Result<Vec<Value>> {
        self.sets(zone_id, |set| set).await
    }

    /// The records of a name in a hosted zone, in one call: a name has fewer than a page holds.
    pub async fn records_at(&self, zone_id: &str, name: &str) -> Result<Vec<Record>> {
        let request = self.route53().list_resource_record_sets().hosted_zone_id(zone_id).start_record_name(name);
        let page = self.send("route53:ListResourceRecordSets", zone_id, request.send()).await?;
        let records = page.resource_record_sets.into_iter().map(|set| Record::read(&record_set(set)));
        Ok(records.filter(|record| normalize(&record.name) == name).collect())
    }

    /// What is kept of each record set, page by page: 300 of a zone's sets are held whole at a time.
    async fn sets<T>(&self, zone_id: &str, keep: impl Fn(Value) -> T) -> Result<Vec<T>> {
        let mut sets = Vec::new();
        let mut from = None;
        loop {
            let mut request = self.route53().list_resource_record_sets().hosted_zone_id(zone_id);
            if let Some((name, kind, identifier)) = from.take() {
                request =
                    request.start_record_name(name).set_start_record_type(kind).set_start_record_identifier(identifier);
            }
            let page = self.send("route53:ListResourceRecordSets", zone_id, request.send()).await?;
            sets.extend(page.resource_record_sets.into_iter().map(|set| keep(record_set(set))));
            match page.next_record_name {
                Some(name) if page.is_truncated => {
                    from = Some((name, page.next_record_type, page.next_record_identifier));
                }
                _ => return Ok(sets),
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

fn record_set(set: ResourceRecordSet) -> Value {
    let values = set.resource_records.unwrap_or_default().into_iter();
    let values: Vec<_> = values.map(|record| json!({"Value": record.value})).collect();
    let alias = set.alias_target.map(|target| {
        json!({
            "HostedZoneId": target.hosted_zone_id,
            "DNSName": target.dns_name,
            "EvaluateTargetHealth": target.evaluate_target_health,
        })
    });
    without_nothing([
        ("Name", Some(json!(set.name))),
        ("Type", Some(json!(set.r#type.as_str()))),
        ("SetIdentifier", set.set_identifier.map(Value::from)),
        ("Weight", set.weight.map(Value::from)),
        ("Region", set.region.map(|region| json!(region.as_str()))),
        ("GeoLocation", set.geo_location.map(geo_location)),
        ("Failover", set.failover.map(|failover| json!(failover.as_str()))),
        ("MultiValueAnswer", set.multi_value_answer.map(Value::from)),
        ("TTL", set.ttl.map(Value::from)),
        ("ResourceRecords", (!values.is_empty()).then_some(Value::Array(values))),
        ("AliasTarget", alias),
        ("HealthCheckId", set.health_check_id.map(Value::from)),
        ("TrafficPolicyInstanceId", set.traffic_policy_instance_id.map(Value::from)),
        ("CidrRoutingConfig", set.cidr_routing_config.as_ref().map(cidr_routing)),
        ("GeoProximityLocation", set.geo_proximity_location.map(geo_proximity)),
    ])
}

fn geo_location(place: GeoLocation) -> Value {
    without_nothing([
        ("ContinentCode", place.continent_code.map(Value::from)),
        ("CountryCode", place.country_code.map(Value::from)),
        ("SubdivisionCode", place.subdivision_code.map(Value::from)),
    ])
}

fn cidr_routing(config: &CidrRoutingConfig) -> Value {
    json!({"CollectionId": config.collection_id, "LocationName": config.location_name})
}

fn geo_proximity(place: GeoProximityLocation) -> Value {
    let at = |place: Coordinates| json!({"Latitude": place.latitude, "Longitude": place.longitude});
    without_nothing([
        ("AWSRegion", place.aws_region.map(Value::from)),
        ("LocalZoneGroup", place.local_zone_group.map(Value::from)),
        ("Coordinates", place.coordinates.map(at)),
        ("Bias", place.bias.map(Value::from)),
    ])
}

fn without_nothing<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
