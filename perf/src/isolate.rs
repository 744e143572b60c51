//! Keeps a run to itself: its own network, its own cores, ahead of other work. Where a right for it is missing the run
//! goes on without, and says so.

use std::io;
use std::panic::resume_unwind;
use std::thread;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Which core is whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The server's alone.
    pub server: usize,
    /// For the generator and for what stands behind the server.
    pub generator: usize,
}

impl Cores {
    /// The first and the last that this process may use: on machines with sibling threads these do not share a core,
    /// and interrupts that go to the first one are not the server's to bear. `None` on one core.
    pub fn choose() -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let generator = cores.next()?;
        Some(Self { server: cores.next_back()?, generator })
    }
}

/// Keeps this thread, and what it starts from now on, on one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// The nice value of everything that is measured, and of its session where the kernel groups by session.
const NICE: i32 = -15;

/// Puts this thread, and what it starts from now on, ahead of other work, and lifts its limit of open files as far as
/// it goes. Returns what could not be had.
pub fn prefer() -> Vec<String> {
    let mut missing = Vec::new();
    if let Err(error) = setpriority_process(None, NICE) {
        missing.push(format!("other work is not put behind (nice {NICE}: {error})"));
    } else if autogrouped() {
        // Between sessions only the value of the session counts.
        if let Err(error) = std::fs::write("/proc/self/autogroup", NICE.to_string()) {
            missing.push(format!("work of other sessions is not put behind (autogroup: {error})"));
        }
    }
    if let Err(error) = lift_files() {
        missing.push(format!("few files may be open ({error})"));
    }
    missing
}

/// For ten thousand connections, each of which may be two files of a proxy, and some more.
const FILES: u64 = 65_536;

/// Beyond the hard limit only with the right for it; else up to it.
fn lift_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.map(|maximum| maximum.max(FILES));
    let lifted = setrlimit(Resource::Nofile, Rlimit { current: enough, maximum: enough });
    lifted.or_else(|_no_right| {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    })?;
    Ok(())
}

fn autogrouped() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").is_ok_and(|value| value.trim() == "1")
}

/// Runs something on a thread of its own, in a network of its own with nothing but loopback. Threads and processes
/// that it starts are in the same network, which is gone with the last of them.
///
/// The second value says why there is no such network, if there is none; the work is done all the same.
pub fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> (T, Option<String>) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let missing = own_network().err();
            let missing =
                missing.map(|error| format!("the network is shared with the whole machine ({error})"));
            (work(), missing)
        });
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn own_network() -> io::Result<()> {
    leave_network()?;
    loopback_up()?;
    // `/proc/sys/net` shows the network of the thread that looks.
    std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno")?;
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 65000")?;
    std::fs::write("/proc/sys/net/core/somaxconn", "4096")
}

#[expect(
    unsafe_code,
    reason = "rustix marks the whole call unsafe for the sake of one flag that is not used here"
)]
fn leave_network() -> io::Result<()> {
    // SAFETY: only CLONE_FILES can make descriptors disappear under other code. CLONE_NEWNET changes which network
    // new sockets of this thread belong to, no memory and no descriptor.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?)
}

/// Asks the kernel by netlink to set the flag "up" of interface 1, which is always loopback.
fn loopback_up() -> io::Result<()> {
    // Protocol 0 of netlink is NETLINK_ROUTE.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &up_request(), SendFlags::empty())?;
    let mut reply = [0; 128];
    let (_, length) = rustix::net::recv(&socket, &mut reply[..], RecvFlags::empty())?;
    match acknowledged(&reply[..length]) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "netlink answered with something else")),
    }
}

/// `man 7 netlink`, `man 7 rtnetlink`: a header of 16 bytes, then `ifinfomsg` of 16.
fn up_request() -> [u8; 32] {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    let mut request = [0; 32];
    request[0..4].copy_from_slice(&32u32.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    request[8..12].copy_from_slice(&1u32.to_ne_bytes());
    request[20..24].copy_from_slice(&1i32.to_ne_bytes());
    request[24..28].copy_from_slice(&IFF_UP.to_ne_bytes());
    request[28..32].copy_from_slice(&IFF_UP.to_ne_bytes());
    request
}

/// The error number of an `NLMSG_ERROR`, negative; 0 is the acknowledgement.
fn acknowledged(reply: &[u8]) -> Option<i32> {
    const NLMSG_ERROR: u16 = 2;
    let kind = u16::from_ne_bytes(reply.get(4..6)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(i32::from_ne_bytes(reply.get(16..20)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn two_runs_can_use_the_same_port_and_reach_themselves() {
        let once = || {
            let (result, missing) = alone(|| {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                TcpStream::connect(listener.local_addr()?)?;
                std::fs::read_to_string("/proc/self/net/dev")
            });
            (result.unwrap(), missing)
        };
        let (_, missing) = once();
        if missing.is_some() {
            // Without the right for it there is nothing more to see; the work was done.
            return;
        }
        let (first, second) = alone(|| (TcpListener::bind("127.0.0.1:4000"), once())).0;
        let again = alone(|| TcpListener::bind("127.0.0.1:4000")).0;
        assert!(first.is_ok() && again.is_ok() && second.1.is_none());
    }

    #[test]
    fn an_answer_that_is_no_answer_is_told_apart() {
        let mut reply = [0; 36];
        reply[4] = 2;
        reply[16..20].copy_from_slice(&(-1i32).to_ne_bytes());
        assert_eq!(acknowledged(&reply), Some(-1));
        reply[4] = 3;
        assert_eq!(acknowledged(&reply), None);
        assert_eq!(acknowledged(&reply[..3]), None);
    }

    #[test]
    fn a_pinned_thread_stays_there() {
        let Some(cores) = Cores::choose() else { return };
        thread::spawn(move || {
            pin(cores.server).unwrap();
            let set = sched_getaffinity(None).unwrap();
            assert!(set.is_set(cores.server) && set.count() == 1);
        })
        .join()
        .unwrap();
    }
}
