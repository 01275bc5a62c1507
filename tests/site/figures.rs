//! Figures: exact 95 % confidence intervals of a share (Clopper and Pearson 1934) and of a rate (Garwood 1936), and the
//! order statistics of seeds.

/// Half of the error on each side.
const TAIL: f64 = 0.025;

fn ln_factorial(n: u64) -> f64 {
    if n < 2 {
        return 0.0;
    }
    if n < 256 {
        return (2..=n).map(|k| (k as f64).ln()).sum();
    }
    // Stirling's series; its error is below 1e-12 from here on.
    let x = n as f64;
    x * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI * x).ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
}

/// P(X ≤ k) of a binomial.
fn binomial(k: u64, n: u64, p: f64) -> f64 {
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return if k >= n { 1.0 } else { 0.0 };
    }
    let term = |i: u64| {
        let choose = ln_factorial(n) - ln_factorial(i) - ln_factorial(n - i);
        (choose + i as f64 * p.ln() + (n - i) as f64 * (1.0 - p).ln()).exp()
    };
    (0..=k.min(n)).map(term).sum::<f64>().min(1.0)
}

/// P(X ≤ k) of a Poisson variable.
fn poisson(k: u64, mean: f64) -> f64 {
    if mean <= 0.0 {
        return 1.0;
    }
    (0..=k).map(|i| (i as f64 * mean.ln() - mean - ln_factorial(i)).exp()).sum::<f64>().min(1.0)
}

/// Where a falling function passes `level`.
fn falls_to(level: f64, mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if f(middle) > level {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// Of `hits` among `of`.
pub fn share_interval(hits: u64, of: u64) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let low = if hits == 0 { 0.0 } else { falls_to(1.0 - TAIL, 0.0, 1.0, |p| binomial(hits - 1, of, p)) };
    let high = if hits == of { 1.0 } else { falls_to(TAIL, 0.0, 1.0, |p| binomial(hits, of, p)) };
    (low, high)
}

/// Of `events` in a time or amount of 1.
pub fn count_interval(events: u64) -> (f64, f64) {
    let most = events as f64 + 20.0 + 10.0 * (events as f64).sqrt();
    let low = if events == 0 { 0.0 } else { falls_to(1.0 - TAIL, 0.0, most, |mean| poisson(events - 1, mean)) };
    (low, falls_to(TAIL, 0.0, most, |mean| poisson(events, mean)))
}

/// The value below which this part of them lies; 0 of none.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * part).ceil() as usize).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-4
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Clopper–Pearson: 9 of 10, 0 of 20; Garwood: 0 and 10 events.
        let (low, high) = share_interval(9, 10);
        assert!(near(low, 0.5550) && near(high, 0.9975), "{low} {high}");
        assert!(near(share_interval(0, 20).1, 0.1684));
        assert!(near(count_interval(0).1, 3.6889));
        let (low, high) = count_interval(10);
        assert!(near(low, 4.7954) && near(high, 18.3904), "{low} {high}");
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values = [5.0, 1.0, 3.0];
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.9), quantile(&[], 0.5)), (3.0, 5.0, 0.0));
    }
}
