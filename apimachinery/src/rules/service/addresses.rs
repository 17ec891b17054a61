//! Cluster IPs and their families.

use super::is_headless;
use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::ip;

/// An address that endpoints and services can have: not of this host, link or nowhere.
pub(in crate::rules) fn special_address(at: &At<'_, '_>, errors: &mut Errors) {
    let text = at.str();
    let Some(address) = ip::parse_address(text) else {
        at.invalid_str(errors, "must be a valid IP address");
        return;
    };
    if address.is_unspecified() {
        at.invalid_str(errors, &format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        at.invalid_str(errors, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, link_multicast) = match address {
        std::net::IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        at.invalid_str(errors, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_multicast {
        at.invalid_str(errors, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` together.
pub(super) fn cluster_ips(spec: &At<'_, '_>, old: Option<&At<'_, '_>>, errors: &mut Errors) {
    if spec.field("type").str() == "ExternalName" {
        return;
    }
    let (one, all) = (spec.field("clusterIP"), spec.field("clusterIPs"));
    if one.is_empty() {
        if !all.is_empty() {
            all.invalid(errors, "must be empty when `clusterIP` is not specified");
        }
    } else if all.is_empty() {
        all.required(errors, "");
    } else if all.item(0).str() != one.str() {
        all.invalid(errors, "first value must match `clusterIP`");
    }
    let families = spec.field("ipFamilies");
    let mut seen = Vec::new();
    for family in families.items() {
        family.one_of(errors, &["IPv4", "IPv6"]);
        if seen.contains(&family.str()) {
            family.duplicate(errors);
        }
        seen.push(family.str());
    }
    let policy = spec.field("ipFamilyPolicy");
    if policy.exists() {
        policy.one_of(errors, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    }
    let mut malformed = false;
    for (i, address) in all.items().enumerate() {
        if i == 0 && address.str() == "None" {
            if all.len() > 1 {
                malformed = true;
                all.invalid(errors, "'None' must be the first and only value");
            }
            continue;
        }
        let known = old.is_some_and(|old| old.field("clusterIPs").items().any(|o| o.str() == address.str()));
        let wrong = if known { Vec::new() } else { ip::address(address.str()) };
        malformed |= !wrong.is_empty();
        address.invalid_each(errors, wrong);
    }
    if all.len() > 2 {
        all.invalid(errors, "may only hold up to 2 values");
    }
    if malformed {
        return;
    }
    let is_v6 = |text: &str| ip::parse_address(text).is_some_and(|a| a.is_ipv6());
    if all.len() > 1 {
        let both = all.items().any(|a| is_v6(a.str())) && all.items().any(|a| !is_v6(a.str()));
        if !both {
            all.invalid(errors, "may specify no more than one IP for each IP family");
        }
    }
    if is_headless(spec) {
        return;
    }
    for (i, (address, family)) in all.items().zip(families.items()).enumerate() {
        let expected = match family.str() {
            "IPv4" if is_v6(address.str()) => "IPv4",
            "IPv6" if !is_v6(address.str()) => "IPv6",
            _ => continue,
        };
        address.invalid_str(errors, &format!("expected an {expected} value as indicated by `ipFamilies[{i}]`"));
    }
}

/// Addresses stay once they are given; a second one may come and go.
pub(super) fn cluster_ips_change(spec: &At<'_, '_>, old: &At<'_, '_>, errors: &mut Errors) {
    const ONCE: &str = "may not change once set";
    if [spec, old].iter().any(|s| s.field("type").str() == "ExternalName") {
        return;
    }
    let (new_ips, old_ips) = (spec.field("clusterIPs"), old.field("clusterIPs"));
    let (headless, was_headless) = (is_headless(spec), is_headless(old));
    let single = spec.field("ipFamilyPolicy").str() == "SingleStack";
    let at = |list: &At<'_, '_>, i: usize, says: &str, errors: &mut Errors| {
        errors.invalid(&list.path().index(i), list.value(), says);
    };
    if !(headless && was_headless) {
        let (count, before) = (new_ips.len(), old_ips.len());
        if count == before {
            for i in (0..count).filter(|&i| new_ips.item(i).str() != old_ips.item(i).str()) {
                at(&new_ips, i, ONCE, errors);
            }
        } else {
            if count == 0 {
                at(&new_ips, 0, "primary clusterIP can not be unset", errors);
            }
            if count > 0 && before > 0 && new_ips.item(0).str() != old_ips.item(0).str() {
                at(&new_ips, 0, ONCE, errors);
            }
            if count < before && count == 1 && !single {
                let says = "must be set to 'SingleStack' when releasing the secondary clusterIP";
                spec.field("ipFamilyPolicy").invalid(errors, says);
            }
        }
    }
    if headless || was_headless {
        return;
    }
    let (families, before) = (spec.field("ipFamilies"), old.field("ipFamilies"));
    if families.len() == before.len() {
        for _ in (0..families.len()).filter(|&i| families.item(i).str() != before.item(i).str()) {
            at(&families, 0, ONCE, errors);
        }
        return;
    }
    if families.len() < before.len() && new_ips.is_empty() {
        at(&families, 0, "primary ipFamily can not be unset", errors);
    }
    if !families.is_empty() && !before.is_empty() && families.item(0).str() != before.item(0).str() {
        errors.invalid(&families.path().index(0), new_ips.value(), ONCE);
    }
    if families.len() == 1 && before.len() > 1 && !single {
        let says = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        spec.field("ipFamilyPolicy").invalid(errors, says);
    }
}
