//! `intstr.IntOrString`: a number, or a text such as a port's name or a percentage.
//!
//! Source: `k8s.io/apimachinery/pkg/util/intstr`.

use serde_json::Value;

/// A number or a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A text.
    String(String),
}

impl IntOrString {
    /// Takes it from a canonical object.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(s) => Some(Self::String(s.clone())),
            other => i32::try_from(other.as_i64()?).ok().map(Self::Int),
        }
    }

    /// The number of percent, if it is a percentage.
    pub fn percent(&self) -> Option<i32> {
        match self {
            Self::Int(_) => None,
            Self::String(s) => s.strip_suffix('%')?.parse().ok(),
        }
    }

    /// The number itself, or the percentage of `total`; `None` for any other text.
    pub fn scaled(&self, total: i32, round_up: bool) -> Option<i32> {
        match self {
            Self::Int(n) => Some(*n),
            Self::String(_) => {
                let product = i64::from(self.percent()?) * i64::from(total);
                let scaled = if round_up {
                    product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
                } else {
                    product.div_euclid(100)
                };
                i32::try_from(scaled).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_scale_with_the_rounding_asked_for() {
        let quarter = IntOrString::String("25%".to_owned());
        assert_eq!((quarter.scaled(10, true), quarter.scaled(10, false)), (Some(3), Some(2)));
        assert_eq!(IntOrString::Int(7).scaled(100, true), Some(7));
        assert_eq!(IntOrString::String("http".to_owned()).scaled(10, true), None);
    }
}
