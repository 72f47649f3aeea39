//! Whether what is wanted can be had from the target.

use anyhow::bail;

use crate::plan::{Announces, Kind, Load, Plan, Transport};
use crate::watch::process;

/// Why a load cannot be put on this target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Misfit {
    phase: String,
    load: String,
    /// Field and value, where it is about one: `depth 64`.
    field: Option<(&'static str, String)>,
    what: String,
}

impl Misfit {
    /// As told about a scenario file.
    pub(super) fn of_a_scenario(&self) -> String {
        let Misfit { phase, load, field, what } = self;
        let field = field.as_ref().map(|(name, value)| format!("{name} {value}: "));
        format!("phase '{phase}', load '{load}': {}{what}", field.unwrap_or_default())
    }

    /// As told about flags.
    pub(super) fn of_flags(&self) -> String {
        let field = self.field.as_ref().map(|(name, value)| format!("--{name} {value}: "));
        format!("{}{}", field.unwrap_or_default(), self.what)
    }
}

/// The first load that does not fit.
pub(super) fn fit(plan: &Plan) -> Result<(), Misfit> {
    for phase in &plan.phases {
        for load in &phase.loads {
            load_fits(plan, load).map_err(|(field, what)| Misfit {
                phase: phase.name.clone(),
                load: load.name.clone(),
                field,
                what,
            })?;
        }
    }
    Ok(())
}

type Why = (Option<(&'static str, String)>, String);

fn load_fits(plan: &Plan, load: &Load) -> Result<(), Why> {
    let tracker = plan.tracker.as_ref();
    let missing = |what: &str| Err((None, what.to_owned()));
    match &load.kind {
        Kind::Announce(Announces { transport: Transport::Http, .. }) => {
            return match tracker.and_then(|tracker| tracker.http.as_ref()) {
                Some(_) => Ok(()),
                None => missing("which tracker? Give --http"),
            };
        }
        Kind::Announce(Announces { transport: Transport::Udp, .. }) => {
            return match tracker.and_then(|tracker| tracker.udp) {
                Some(_) => Ok(()),
                None => missing("which tracker? Give --udp"),
            };
        }
        _ => {}
    }
    let Some(seeder) = &plan.seeder else { return missing("which seeder? Give its ADDR:PORT") };
    if let Kind::Flood { verify: true, .. } = load.kind
        && seeder.metainfo.is_none()
    {
        return missing("hashes are in the .torrent file alone: give --torrent");
    }
    let (depth, blocks) = match load.kind {
        Kind::Flood { depth, order, .. } => (depth, order.blocks_apart(&seeder.pieces)),
        Kind::Slow { depth, .. } => (depth, seeder.pieces.block_count()),
        _ => return Ok(()),
    };
    if u64::from(depth) > blocks {
        let what = format!(
            "only {blocks} blocks of this torrent are asked for before one comes again, and none \
             may be outstanding twice; give at most {blocks}"
        );
        return Err((Some(("depth", depth.to_string())), what));
    }
    Ok(())
}

/// A process that is to be watched must be there.
pub(super) fn process(pid: Option<u32>) -> anyhow::Result<()> {
    if let Some(pid) = pid
        && let Err(why) = process::stat(pid)
    {
        bail!("--pid {pid}: no such process is running ({why}); give the target's");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringseed_meta::InfoHash;

    use super::*;
    use crate::modes;
    use crate::order::Order;
    use crate::plan::{Phase, Place, Seeder, Tracker};
    use crate::target::Pieces;

    fn plan(kind: Kind) -> Plan {
        let seeder = Seeder {
            address: "127.0.0.1:1".parse().unwrap(),
            info_hash: InfoHash([0; 20]),
            pieces: Pieces::even(1 << 14, 10 << 14).unwrap(),
            metainfo: None,
        };
        let s = Duration::from_secs(1);
        let loads = vec![Load { name: "l".into(), kind }];
        let phase = Phase { name: "p".into(), opening: s, warm_up: s, length: s, loads };
        Plan {
            title: "t".into(),
            seeder: Some(seeder),
            tracker: Some(Tracker { http: None, udp: Some("127.0.0.1:2".parse().unwrap()) }),
            pid: None,
            from: None,
            places: vec![Place::default()],
            phases: vec![phase],
        }
    }

    fn flood(depth: u32, verify: bool) -> Kind {
        Kind::Flood { connections: 1, depth, order: Order::Sequential, verify }
    }

    #[test]
    fn a_depth_is_bounded_by_the_torrent() {
        assert_eq!(fit(&plan(flood(10, false))), Ok(()));
        let misfit = fit(&plan(flood(11, false))).unwrap_err();
        let (scenario, flags) = (misfit.of_a_scenario(), misfit.of_flags());
        assert!(
            scenario.starts_with("phase 'p', load 'l': depth 11: only 10 blocks"),
            "{scenario}"
        );
        assert!(flags.starts_with("--depth 11: only 10 blocks"), "{flags}");
        let slow = Kind::Slow { connections: 1, depth: 11, bytes_per_s: 1 };
        assert!(fit(&plan(slow)).is_err());
    }

    #[test]
    fn what_a_load_needs_is_named() {
        let announce = |transport| modes::Announce::default().kind(transport).unwrap();
        let misfit = |plan: &Plan| fit(plan).unwrap_err().of_a_scenario();
        assert!(misfit(&plan(announce(Transport::Http))).ends_with("Give --http"));
        assert_eq!(fit(&plan(announce(Transport::Udp))), Ok(()));
        assert!(misfit(&plan(flood(1, true))).ends_with("give --torrent"));
        let nowhere = Plan { seeder: None, ..plan(Kind::Idle { connections: 1 }) };
        assert!(misfit(&nowhere).ends_with("Give its ADDR:PORT"));
    }

    #[test]
    fn a_process_that_is_none_is_refused() {
        assert!(process(None).is_ok() && process(Some(std::process::id())).is_ok());
        let error = process(Some(u32::MAX)).unwrap_err().to_string();
        assert!(error.starts_with("--pid 4294967295: no such process is running"), "{error}");
    }
}
