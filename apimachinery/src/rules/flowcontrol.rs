//! FlowSchemas and PriorityLevelConfigurations.

use serde_json::Value;

use super::edit::{fill, fill_number, made_mut, some_mut};

pub(super) fn flow_schema_default(schema: &mut Value) {
    if let Some(spec) = made_mut(schema, "spec") {
        fill_number(spec, "matchingPrecedence", 1000);
    }
}

pub(super) fn priority_level_default(level: &mut Value) {
    let Some(spec) = some_mut(level, "spec") else { return };
    if let Some(exempt) = some_mut(spec, "exempt") {
        fill(exempt, "nominalConcurrencyShares", 0);
        fill(exempt, "lendablePercent", 0);
    }
    if let Some(limited) = some_mut(spec, "limited") {
        fill(limited, "nominalConcurrencyShares", 30);
        fill(limited, "lendablePercent", 0);
        if let Some(queuing) = some_mut(limited, "limitResponse").and_then(|r| some_mut(r, "queuing")) {
            fill_number(queuing, "handSize", 8);
            fill_number(queuing, "queues", 64);
            fill_number(queuing, "queueLengthLimit", 50);
        }
    }
}
