//! `resource.Quantity`: numbers with a unit, such as `500m`, `1Gi` or `2e3`.
//!
//! Source of format, rounding and canonical form: `k8s.io/apimachinery/pkg/api/resource`.

use std::cmp::Ordering;
use std::fmt;

use smol_str::{SmolStr, ToSmolStr, format_smolstr};

/// Most significant digits that a quantity may have; Kubernetes has no bound, but nothing real needs more.
const MAX_DIGITS: usize = 34;
/// Nothing smaller than a billionth is kept.
const SMALLEST: i32 = -9;

/// Which family of suffixes a quantity is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `n u m k M G T P E`, powers of ten.
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`, powers of 1024.
    BinarySi,
    /// `e3`
    DecimalExponent,
}

/// A quantity: `mantissa * 10^scale`, exact.
#[derive(Clone, Debug)]
pub struct Quantity {
    mantissa: i128,
    scale: i32,
    format: Format,
    /// The text it was read from where that is canonical already.
    text: Option<SmolStr>,
}

/// Why a text is no quantity. The words are what API errors quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It is not a number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is malformed or has too many digits.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// There is no such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0, format: Format::DecimalSi, text: None };

    /// A whole number.
    pub fn from_int(value: i64, format: Format) -> Self {
        Self { mantissa: value.into(), scale: 0, format, text: None }
    }

    /// A number of thousandths.
    pub fn from_millis(value: i64, format: Format) -> Self {
        Self { mantissa: value.into(), scale: -3, format, text: None }
    }

    /// Reads a quantity. White space around it is not accepted.
    ///
    /// # Errors
    /// [`QuantityError`].
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let parts = Parts::split(text)?;
        let (format, unit) = unit(parts.suffix).ok_or(QuantityError::Suffix)?;
        if parts.whole.len() + parts.fraction.len() > MAX_DIGITS {
            return Err(QuantityError::Numeric);
        }
        let mut mantissa: i128 = 0;
        for digit in parts.whole.bytes().chain(parts.fraction.bytes()) {
            mantissa = mantissa * 10 + i128::from(digit - b'0');
        }
        let fraction = parts.fraction.len() as i32;
        let canonical = match unit {
            Unit::Two(power) => fraction == 0 && mantissa & 7 != 0 && parts.whole.len() as u32 + power * 3 / 10 <= 14,
            Unit::Ten(power) => {
                let shifted = if parts.whole.is_empty() { parts.fraction } else { parts.whole };
                let thousands = (mantissa % 1000 == 0) && parts.whole.len() + parts.fraction.len() >= 3;
                let scale = power.saturating_sub(fraction);
                scale >= SMALLEST
                    && scale % 3 == 0
                    && !thousands
                    && !parts.whole.is_empty()
                    && !shifted.starts_with('0')
                    && parts.whole.len() + parts.fraction.len() <= 18
            }
        };
        let mut quantity = match unit {
            Unit::Ten(power) => Self { mantissa, scale: power.saturating_sub(fraction), format, text: None },
            Unit::Two(power) => {
                let mantissa = mantissa.checked_mul(1 << power).ok_or(QuantityError::Numeric)?;
                Self { mantissa, scale: -fraction, format, text: None }
            }
        };
        if canonical {
            quantity.text = Some(text.into());
        } else {
            quantity.round_up(SMALLEST);
            let max = Self::from_int(i64::MAX, format);
            if format == Format::BinarySi && quantity > max {
                quantity = max;
            }
            if format == Format::BinarySi && quantity.mantissa > 0 && quantity < Self::from_int(1, format) {
                quantity.format = Format::DecimalSi;
            }
        }
        if parts.negative {
            quantity.mantissa = -quantity.mantissa;
        }
        Ok(quantity)
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }

    /// The value, rounded up to a whole number, within what 64 bits hold.
    pub fn value(&self) -> i64 {
        self.scaled(0)
    }

    /// The value in thousandths, rounded up, within what 64 bits hold.
    pub fn millis(&self) -> i64 {
        self.scaled(-3)
    }

    /// Whether it is a whole number.
    pub fn is_whole(&self) -> bool {
        let mut rounded = self.clone();
        rounded.round_up(0);
        rounded == *self
    }

    /// The value as a float, for comparisons that need no precision.
    pub fn as_f64(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.scale)
    }

    /// The sum. It is written as `self` is, or as `other` if `self` is nothing. Past the bounds of 128 bits it stays there.
    pub fn add(&self, other: &Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        let (a, b, scale) = aligned(self, other);
        Self { mantissa: a.saturating_add(b), scale, format, text: None }
    }

    /// The difference, with the rules of [`Quantity::add`].
    pub fn sub(&self, other: &Self) -> Self {
        self.add(&Self { mantissa: -other.mantissa, scale: other.scale, format: other.format, text: None })
    }

    /// The canonical text.
    pub fn canonical(&self) -> SmolStr {
        if let Some(text) = &self.text {
            return text.clone();
        }
        if self.mantissa == 0 {
            return SmolStr::new_static("0");
        }
        let limit = Self::from_int(1024, self.format);
        let small = *self < limit && *self > Self::from_int(-1024, self.format);
        match self.format {
            Format::BinarySi if !small && self.is_whole() => {
                let mut whole = self.clone();
                whole.round_up(0);
                whole.raise_to(0);
                let (mut amount, mut power) = (whole.mantissa, 0);
                while amount % 1024 == 0 && power < 6 {
                    amount /= 1024;
                    power += 1;
                }
                format_smolstr!("{amount}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power])
            }
            Format::BinarySi => self.decimal(Format::DecimalSi),
            format => self.decimal(format),
        }
    }

    fn decimal(&self, format: Format) -> SmolStr {
        let (mut amount, mut exponent) = (self.mantissa, self.scale);
        while amount % 10 == 0 {
            amount /= 10;
            exponent += 1;
        }
        let down = exponent.rem_euclid(3);
        amount *= 10i128.pow(down as u32);
        exponent -= down;
        match format {
            Format::DecimalExponent if exponent == 0 => amount.to_smolstr(),
            Format::DecimalExponent => format_smolstr!("{amount}e{exponent}"),
            _ => {
                // Beyond these the stock server writes no suffix.
                let names = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
                let name = usize::try_from(exponent / 3 + 3).ok().and_then(|i| names.get(i)).unwrap_or(&"");
                format_smolstr!("{amount}{name}")
            }
        }
    }

    /// Drops digits below `10^scale`, away from zero.
    fn round_up(&mut self, scale: i32) {
        if self.scale >= scale {
            return;
        }
        let by = (scale - self.scale) as u32;
        self.scale = scale;
        let Some(divisor) = 10i128.checked_pow(by) else {
            self.mantissa = self.mantissa.signum();
            return;
        };
        let rest = self.mantissa % divisor;
        self.mantissa = self.mantissa / divisor + rest.signum();
    }

    /// Writes the number with a smaller scale; saturates.
    fn raise_to(&mut self, scale: i32) {
        if self.mantissa == 0 {
            self.scale = scale;
        }
        while self.scale > scale {
            match self.mantissa.checked_mul(10) {
                Some(mantissa) => self.mantissa = mantissa,
                None => {
                    self.mantissa = if self.mantissa < 0 { i128::MIN } else { i128::MAX };
                    self.scale = scale;
                    return;
                }
            }
            self.scale -= 1;
        }
    }

    fn scaled(&self, scale: i32) -> i64 {
        let mut q = self.clone();
        q.round_up(scale);
        q.raise_to(scale);
        i64::try_from(q.mantissa).unwrap_or(if q.mantissa < 0 { i64::MIN } else { i64::MAX })
    }
}

fn aligned(a: &Quantity, b: &Quantity) -> (i128, i128, i32) {
    let scale = if a.is_zero() {
        b.scale
    } else if b.is_zero() {
        a.scale
    } else {
        a.scale.min(b.scale)
    };
    let (mut a, mut b) = (a.clone(), b.clone());
    a.raise_to(scale);
    b.raise_to(scale);
    (a.mantissa, b.mantissa, scale)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b, _) = aligned(self, other);
        a.cmp(&b)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros; `0` if there were only zeros and nothing follows.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let rest = rest.trim_start_matches('0');
        let (whole, rest) = rest.split_at(digits(rest));
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(digits(rest)),
            None => ("", rest),
        };
        let letters = suffix.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
        let exponent = &suffix[letters..];
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if digits(exponent) != exponent.len() {
            return Err(QuantityError::Format);
        }
        Ok(Self { negative, whole, fraction, suffix })
    }
}

enum Unit {
    Ten(i32),
    Two(u32),
}

fn unit(suffix: &str) -> Option<(Format, Unit)> {
    let ten = |power| Some((Format::DecimalSi, Unit::Ten(power)));
    let two = |power| Some((Format::BinarySi, Unit::Two(power)));
    match suffix {
        "n" => ten(-9),
        "u" => ten(-6),
        "m" => ten(-3),
        "" => ten(0),
        "k" => ten(3),
        "M" => ten(6),
        "G" => ten(9),
        "T" => ten(12),
        "P" => ten(15),
        "E" => ten(18),
        "Ki" => two(10),
        "Mi" => two(20),
        "Gi" => two(30),
        "Ti" => two(40),
        "Pi" => two(50),
        "Ei" => two(60),
        other => {
            let power = other.strip_prefix(['e', 'E']).filter(|p| !p.is_empty())?;
            Some((Format::DecimalExponent, Unit::Ten(power.parse().ok()?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Quantity::parse(text).unwrap().to_string()
    }

    #[test]
    fn text_becomes_canonical() {
        for (text, want) in [
            ("0", "0"),
            ("0.0", "0"),
            ("0Gi", "0"),
            ("1", "1"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("2048Ki", "2Mi"),
            ("1024", "1024"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("1000000", "1M"),
            ("100k", "100k"),
            ("1e3", "1e3"),
            ("12e4", "120e3"),
            ("0.1n", "1n"),
            ("-0.5", "-500m"),
            ("1.1i", "error"),
            ("1.0000000001", "1000000001n"),
            ("100Ei", "9223372036854775807"),
            ("+1", "+1"),
            ("1.500", "1.500"),
            ("123456789123", "123456789123"),
        ] {
            match Quantity::parse(text) {
                Ok(q) => assert_eq!(q.to_string(), want, "{text}"),
                Err(_) => assert_eq!(want, "error", "{text}"),
            }
        }
    }

    #[test]
    fn canonical_text_stays() {
        for text in ["0.5", "1.5Gi", "12e4", "0.1n", "-0.5", "100Ei", "2048Ki", "1e-12", "3.3Mi"] {
            let once = canonical(text);
            assert_eq!(canonical(&once), once);
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_the_words_of_kubernetes() {
        assert_eq!(Quantity::parse(""), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1 Gi"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("abc"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1Gii"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse("1ee3"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse(&"9".repeat(60)), Err(QuantityError::Numeric));
        assert_eq!(Quantity::parse("1e99999999999"), Err(QuantityError::Suffix));
    }

    #[test]
    fn quantities_compare_and_add_across_units() {
        let q = |s| Quantity::parse(s).unwrap();
        assert!(q("1Gi") > q("1G") && q("0.5") == q("500m") && q("1e300") > q("1E") && q("-1") < q("0"));
        assert_eq!(q("1Gi").add(&q("512Mi")).to_string(), "1536Mi");
        assert_eq!(q("100m").add(&q("0.9")).to_string(), "1");
        assert_eq!(q("1").sub(&q("250m")).to_string(), "750m");
        assert_eq!(q("0").add(&q("1Gi")).to_string(), "1Gi");
        assert_eq!((q("1.1").value(), q("1.1").millis(), q("1e30").value()), (2, 1100, i64::MAX));
    }
}
