//! The machine, as far as it bears on the figures. What cannot be had is left out: a report says
//! so, and the run goes on.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;

use super::cpu::CoreTicks;
use super::{process, read};
use crate::plan::Place;
use crate::results::Machine;

/// How long the target may take to accept the connection that shows the congestion control.
const CONNECTING: Duration = Duration::from_secs(2);

/// Looks at the machine. Makes one connection to `target`, the seeder's address or the tracker's.
pub fn look(target: Option<SocketAddr>, pid: Option<u32>, places: &[Place]) -> Machine {
    let text = |path: &str| read(path).ok();
    let line = |path: &str| text(path).map(|text| text.trim().to_owned());
    let status = pid.and_then(|pid| process::status(pid).ok());
    let swarm_cores: BTreeSet<usize> = places.iter().filter_map(|place| place.core).collect();
    let namespaces: BTreeSet<_> =
        places.iter().filter_map(|place| place.namespace.as_ref()).collect();
    Machine {
        kernel: line("/proc/sys/kernel/osrelease"),
        processor: text("/proc/cpuinfo").and_then(|text| processor_of(&text)),
        cores: CoreTicks::read().map_or(0, |ticks| ticks.cores as usize),
        memory_bytes: text("/proc/meminfo").and_then(|text| memory_of(&text)),
        congestion_control: target.and_then(congestion_control),
        qdisc: target.and_then(|target| qdisc_to(target.ip())),
        governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        swarm_cores: swarm_cores.into_iter().collect(),
        target_cores: status.and_then(|text| process::parse_cores(&text)).unwrap_or_default(),
        namespaces: namespaces.len(),
    }
}

/// The first processor's name in the text of `/proc/cpuinfo`; arm64 has none.
fn processor_of(cpuinfo: &str) -> Option<String> {
    let named = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(named.split_once(':')?.1.trim().to_owned())
}

/// Bytes of memory from the text of `/proc/meminfo`.
fn memory_of(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Routes may name another one than the system's default, so a connection is asked.
fn congestion_control(target: SocketAddr) -> Option<String> {
    let stream = TcpStream::connect_timeout(&target, CONNECTING).ok()?;
    let name = SockRef::from(&stream).tcp_congestion().ok()?;
    let name = name.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// The queueing discipline of the interface by which packets to `address` leave, as iproute2 tells.
fn qdisc_to(address: IpAddr) -> Option<String> {
    let interface = interface_of(&said_by("ip", &["-j", "route", "get", &address.to_string()])?)?;
    qdisc_of(&said_by("tc", &["-j", "qdisc", "show", "dev", &interface])?)
}

fn said_by(program: &str, arguments: &[&str]) -> Option<Value> {
    let output = Command::new(program).args(arguments).output().ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

fn interface_of(routes: &Value) -> Option<String> {
    Some(routes.get(0)?.get("dev")?.as_str()?.to_owned())
}

/// The root's kind; below `mq`, which only spreads over hardware queues, that of its queues too.
fn qdisc_of(qdiscs: &Value) -> Option<String> {
    let kind = |qdisc: &Value| Some(qdisc.get("kind")?.as_str()?.to_owned());
    let all = qdiscs.as_array()?;
    let is_root = |qdisc: &&Value| qdisc.get("root") == Some(&Value::Bool(true));
    let root = kind(all.iter().find(is_root)?)?;
    let queues: BTreeSet<String> =
        all.iter().filter(|qdisc| !is_root(qdisc)).filter_map(kind).collect();
    if root != "mq" || queues.is_empty() {
        return Some(root);
    }
    Some(format!("{root} ({})", queues.into_iter().collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;

    #[test]
    fn texts_of_proc_are_read() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Xeon(R) @ 2.60GHz: fast\n";
        assert_eq!(processor_of(cpuinfo).as_deref(), Some("Xeon(R) @ 2.60GHz: fast"));
        assert_eq!(processor_of("processor : 0\n"), None);
        let meminfo = "MemTotal:        8135064 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_of(meminfo), Some(8_135_064 * 1024));
        assert_eq!(memory_of("MemTotal: many\n"), None);
    }

    #[test]
    fn the_root_qdisc_counts_and_queues_below_mq() {
        let routes = json!([{"type": "local", "dst": "127.0.0.1", "dev": "lo"}]);
        assert_eq!(interface_of(&routes).as_deref(), Some("lo"));
        assert_eq!(interface_of(&json!([])), None);
        let lo = json!([{"kind": "noqueue", "root": true}]);
        assert_eq!(qdisc_of(&lo).as_deref(), Some("noqueue"));
        let queue = |number: u32| json!({"kind": "fq_codel", "parent": format!(":{number}")});
        let nic = json!([{"kind": "mq", "root": true}, queue(1), queue(2)]);
        assert_eq!(qdisc_of(&nic).as_deref(), Some("mq (fq_codel)"));
        assert_eq!(qdisc_of(&json!({})), None);
    }

    #[test]
    fn a_connection_tells_its_congestion_control() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = |core| Place { core: Some(core), namespace: Some("/run/netns/a".into()) };
        let target = listener.local_addr().unwrap();
        let machine = look(Some(target), Some(std::process::id()), &[place(1), place(0), place(1)]);
        let allowed =
            std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
        let name = machine.congestion_control.unwrap();
        assert!(allowed.unwrap().split_whitespace().any(|allowed| allowed == name), "{name}");
        assert_eq!((machine.swarm_cores, machine.namespaces), (vec![0, 1], 1));
        assert!(machine.cores > 0 && !machine.target_cores.is_empty());
        assert!(machine.kernel.is_some() && machine.memory_bytes.is_some());
    }

    #[test]
    fn a_target_that_refuses_leaves_a_gap() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(look(Some(target), None, &[]).congestion_control, None);
    }
}
