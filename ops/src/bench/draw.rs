//! Which key comes next.

use rand::Rng;
use rand::rngs::SmallRng;

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Distribution {
    /// Every key equally often.
    Uniform,
    /// YCSB's zipfian, constant 0.99, popular keys spread over the key space.
    Zipfian,
}

/// Draws keys below `items`.
pub(super) enum Draw {
    Uniform { items: u64 },
    Zipfian(Zipf),
}

/// Gray et al., "Quickly Generating Billion-Record Synthetic Databases" (1994), as YCSB uses it.
pub(super) struct Zipf {
    items: u64,
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Draw {
    pub(super) fn new(distribution: Distribution, items: u64) -> Self {
        match distribution {
            Distribution::Uniform => Self::Uniform { items },
            Distribution::Zipfian => Self::Zipfian(Zipf::new(items)),
        }
    }

    pub(super) fn next(&self, random: &mut SmallRng) -> u64 {
        match self {
            Self::Uniform { items } => random.random_range(0..*items),
            Self::Zipfian(zipf) => {
                // FNV spreads neighbouring ranks over the key space.
                let rank = zipf.rank(random.random());
                let mixed =
                    rank.to_le_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
                    });
                mixed % zipf.items
            }
        }
    }
}

impl Zipf {
    fn new(items: u64) -> Self {
        let theta = 0.99;
        let zeta = zeta(items, theta);
        Self {
            items,
            theta,
            zeta,
            alpha: 1.0 / (1.0 - theta),
            eta: (1.0 - (2.0 / items as f64).powf(1.0 - theta)) / (1.0 - zeta_of_two(theta) / zeta),
        }
    }

    fn rank(&self, uniform: f64) -> u64 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < zeta_of_two(self.theta) {
            return 1.min(self.items - 1);
        }
        let rank = self.items as f64 * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.items - 1)
    }
}

fn zeta_of_two(theta: f64) -> f64 {
    1.0 + 0.5_f64.powf(theta)
}

/// The sum of 1 / i^theta; beyond a million terms by the integral, which is exact to four digits there.
fn zeta(items: u64, theta: f64) -> f64 {
    let exact = items.min(1_000_000);
    let head: f64 = (1..=exact).map(|i| (i as f64).powf(-theta)).sum();
    let integral = |x: f64| x.powf(1.0 - theta) / (1.0 - theta);
    head + if items > exact { integral(items as f64) - integral(exact as f64) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn draws_stay_below_the_bound() {
        let mut random = SmallRng::seed_from_u64(1);
        for distribution in [Distribution::Uniform, Distribution::Zipfian] {
            for items in [1, 2, 3, 1_000] {
                let draw = Draw::new(distribution, items);
                assert!((0..1_000).all(|_| draw.next(&mut random) < items), "{distribution:?}");
            }
        }
    }

    /// With 1,000 keys and a constant of 0.99 the first key has 1 / zeta = 13.4 % of the draws.
    #[test]
    fn zipfian_is_as_skewed_as_ycsb_says() {
        let zipf = Zipf::new(1_000);
        let mut random = SmallRng::seed_from_u64(1);
        let draws = 200_000;
        let first = (0..draws).filter(|_| zipf.rank(random.random()) == 0).count();
        let share = first as f64 / f64::from(draws);
        assert!((share - 1.0 / zipf.zeta).abs() < 0.01, "{share}");
        assert!((1.0 / zipf.zeta - 0.134).abs() < 0.005);
    }
}
