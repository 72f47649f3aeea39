//! What a run has shown, for people and for programs.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::tally::Tally;
use crate::watch::cpu::{CoreTicks, time_of};

/// The result of a flood.
#[derive(Clone, Debug)]
pub struct Report {
    /// The time that counted.
    pub length: Duration,
    /// Connections asked for.
    pub connections: u32,
    /// Requests outstanding on each.
    pub depth: u32,
    /// Connections that the seeder unchoked, and that lasted.
    pub unchoked: u32,
    /// Connections that failed or ended early.
    pub lost: u32,
    /// What was received in that time.
    pub tally: Tally,
    /// Bytes of the pieces that were verified since the load began, each counted once.
    pub distinct_bytes: u64,
    /// From connect(2) to the unchoke. Microseconds.
    pub to_unchoke_us: Histogram<u64>,
    /// The time over which CPU times were taken: that time, but for a moment.
    pub elapsed: Duration,
    /// What all cores did in it.
    pub cores: CoreTicks,
    /// CPU time of the process given by `--pid`.
    pub seeder: Option<Duration>,
    /// CPU time of this program.
    pub own: Duration,
}

impl Report {
    /// 10^9 bytes of blocks a second of time.
    pub fn gb_per_s(&self) -> f64 {
        self.gb() / self.length.as_secs_f64()
    }

    /// 10^9 bytes of blocks a second of CPU time, which was spent within `elapsed`.
    pub fn gb_per_cpu_s(&self, cpu: Duration) -> f64 {
        let cores = cpu.as_secs_f64().max(0.01) / self.elapsed.as_secs_f64();
        self.gb_per_s() / cores
    }

    /// Busy time of all cores.
    pub fn busy(&self) -> Duration {
        self.cores.busy(self.elapsed)
    }

    fn gb(&self) -> f64 {
        self.tally.payload_bytes as f64 / 1e9
    }

    /// All that was measured, with units in the names.
    pub fn to_json(&self) -> Value {
        let seconds = |cpu: Duration| cpu.as_secs_f64();
        json!({
            "seconds": self.length.as_secs_f64(),
            "connections": self.connections,
            "depth": self.depth,
            "unchoked": self.unchoked,
            "lost": self.lost,
            "payload_bytes": self.tally.payload_bytes,
            "blocks": self.tally.blocks,
            "rejects": self.tally.rejects,
            "chokes": self.tally.chokes,
            "pieces_verified": self.tally.pieces_verified,
            "pieces_broken_off": self.tally.pieces_broken_off,
            "distinct_bytes": self.distinct_bytes,
            "gb_per_s": self.gb_per_s(),
            "gb_per_cpu_s": self.gb_per_cpu_s(self.busy()),
            "gb_per_seeder_cpu_s": self.seeder.map(|cpu| self.gb_per_cpu_s(cpu)),
            "latency_us": quantiles(&self.tally.latency_us),
            "to_unchoke_us": quantiles(&self.to_unchoke_us),
            "cpu_s": {
                "elapsed": seconds(self.elapsed),
                "busy": seconds(self.busy()),
                "busy_sampled": seconds(self.cores.sampled()),
                "user": seconds(time_of(self.cores.user)),
                "system": seconds(time_of(self.cores.system)),
                "irq": seconds(time_of(self.cores.irq)),
                "softirq": seconds(time_of(self.cores.softirq)),
                "idle": seconds(time_of(self.cores.idle)),
                "steal": seconds(time_of(self.cores.steal)),
                "seeder": self.seeder.map(seconds),
                "own": seconds(self.own),
            },
        })
    }
}

fn quantiles(us: &Histogram<u64>) -> Value {
    json!({
        "min": us.min(),
        "p50": us.value_at_quantile(0.5),
        "p99": us.value_at_quantile(0.99),
        "p999": us.value_at_quantile(0.999),
        "max": us.max(),
        "mean": us.mean(),
    })
}

/// `65 us`, `1.4 ms`, `2.1 s`.
fn time_text(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn quantile_text(us: &Histogram<u64>) -> String {
    if us.is_empty() {
        return "none".into();
    }
    let at = |quantile| time_text(us.value_at_quantile(quantile));
    format!("p50 {}, p99 {}, p99.9 {}", at(0.5), at(0.99), at(0.999))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { connections, depth, unchoked, lost, tally, cores, .. } = self;
        let s = self.length.as_secs_f64();
        writeln!(
            f,
            "load      {connections} connections x {depth} requests, {s:.2} s; {unchoked} unchoked, {lost} lost"
        )?;
        let rate = self.gb_per_s();
        let blocks = tally.blocks as f64 / s;
        writeln!(f, "rate      {rate:.3} GB/s ({:.1} Gbit/s), {blocks:.0} blocks/s", rate * 8.0)?;
        writeln!(f, "latency   {}", quantile_text(&tally.latency_us))?;
        writeln!(f, "unchoke   {}", quantile_text(&self.to_unchoke_us))?;
        write!(f, "per CPU-s {:.2} GB over all cores", self.gb_per_cpu_s(self.busy()))?;
        if let Some(seeder) = self.seeder {
            write!(f, ", {:.2} GB of the seeder's own", self.gb_per_cpu_s(seeder))?;
        }
        writeln!(f)?;
        let busy = self.busy().as_secs_f64();
        let softirq = time_of(cores.softirq).as_secs_f64();
        write!(
            f,
            "CPU       {busy:.2} s busy ({softirq:.2} softirq), this program {:.2}",
            self.own.as_secs_f64()
        )?;
        if let Some(seeder) = self.seeder {
            write!(f, ", the seeder {:.2}", seeder.as_secs_f64())?;
        }
        writeln!(f, "; {:.2} stolen", time_of(cores.steal).as_secs_f64())?;
        write!(f, "faults    {} rejects, {} chokes", tally.rejects, tally.chokes)?;
        if tally.pieces_verified + tally.pieces_broken_off > 0 {
            let Tally { pieces_verified, pieces_broken_off, .. } = tally;
            write!(f, "; {pieces_verified} pieces verified, {pieces_broken_off} broken off")?;
            write!(f, ", {} bytes distinct", self.distinct_bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut tally = Tally::new();
        for us in [100, 200, 3_000] {
            tally.on_payload(1_000_000_000);
            tally.on_block(Duration::from_micros(us));
        }
        Report {
            length: Duration::from_secs(2),
            connections: 7,
            depth: 5,
            unchoked: 6,
            lost: 1,
            to_unchoke_us: tally.latency_us.clone(),
            tally,
            distinct_bytes: 0,
            elapsed: Duration::from_secs(2),
            cores: CoreTicks {
                cores: 2,
                idle: 100,
                steal: 100,
                system: 90,
                ..CoreTicks::default()
            },
            seeder: Some(Duration::from_millis(500)),
            own: Duration::from_secs(1),
        }
    }

    #[test]
    fn rates_are_bytes_of_blocks_by_time_and_by_cpu_time() {
        let json = report().to_json();
        assert_eq!(json["gb_per_s"], 1.5);
        assert_eq!(json["gb_per_cpu_s"], 1.5);
        assert_eq!(json["gb_per_seeder_cpu_s"], 6.0);
        assert_eq!(json["latency_us"]["p50"], 200);
        assert_eq!(json["cpu_s"]["busy"], 2.0);
        assert_eq!(json["cpu_s"]["busy_sampled"], 0.9);
    }

    #[test]
    fn the_summary_says_what_the_json_says() {
        let text = report().to_string();
        for part in [
            "1.500 GB/s (12.0 Gbit/s)",
            "p50 200 us",
            "1.50 GB over all cores",
            "6.00 GB of the seeder's",
            "6 unchoked, 1 lost",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
