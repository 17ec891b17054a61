//! The store's counters as Prometheus metrics: read when they are asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use store::Stats;

#[derive(Debug)]
struct StoreCollector(Arc<Stats>);

/// Registers the store's counters.
pub(crate) fn register(registry: &mut Registry, stats: Arc<Stats>) {
    registry.register_collector(Box::new(StoreCollector(stats)));
}

impl Collector for StoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let stats = &self.0;
        for (name, help, value) in [
            ("tenantry_store_commits", "Transactions made durable", read(&stats.commits)),
            ("tenantry_store_conflicts", "Transactions refused by a precondition", read(&stats.conflicts)),
            ("tenantry_store_fsyncs", "Times the log was made durable", read(&stats.fsyncs)),
            ("tenantry_store_written_bytes", "Bytes written to the log", read(&stats.written)),
            ("tenantry_store_checkpoints", "Snapshots of the whole state", read(&stats.checkpoints)),
            ("tenantry_store_evictions", "Times a tenant left memory", read(&stats.evictions)),
            ("tenantry_store_returns", "Times a tenant came back into memory", read(&stats.returns)),
            ("tenantry_store_fsync_microseconds", "Microseconds spent making batches durable", stats.fsync.read().1),
        ] {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        for (name, help, value) in [
            ("tenantry_store_failed", "1 once the disk failed: writes are refused", read(&stats.failed)),
            ("tenantry_store_records", "Records that exist", read(&stats.records)),
            ("tenantry_store_bytes", "Bytes of their names and values", read(&stats.bytes)),
            ("tenantry_store_changes", "Changes held in the change log", read(&stats.changes)),
            ("tenantry_store_change_bytes", "About how many bytes the change log keeps", read(&stats.change_bytes)),
            ("tenantry_store_tenants_in_memory", "Tenants in memory", read(&stats.tenants)),
            ("tenantry_store_tenants_at_rest", "Tenants out of memory until someone asks", read(&stats.at_rest)),
            ("tenantry_store_at_rest_bytes", "About how many bytes those keep in memory", read(&stats.rested_bytes)),
            ("tenantry_store_cursors", "Readers of the change log", read(&stats.cursors)),
        ] {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}
