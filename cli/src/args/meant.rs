//! What is meant by what was said: values checked and complete, or one error that says what to write instead.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use ipnet::IpNet;
use ringway_core::limits::Limits;
use tracing_subscriber::filter::Targets;

use super::{environment, filter, limits, said};
use crate::oneline::{self, Forward};

/// Why the command line cannot be meant. Exit code 2.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// What `ringway run` is to do.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) inputs: Vec<Input>,
    /// The variable that names the files, if they are not named on the command line.
    pub(crate) inputs_variable: Option<String>,
    pub(crate) print: bool,
    pub(crate) demo_backend: Option<SocketAddr>,
    pub(crate) allow_external_name: bool,
    pub(crate) process: Process,
}

/// How a gateway's process is to be, whatever configures it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) threads: Option<usize>,
    pub(crate) pin: bool,
    pub(crate) driver: said::Driver,
    pub(crate) limits: Limits,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) route_metrics: usize,
    pub(crate) admin: Vec<Admin>,
    pub(crate) drain_delay: std::time::Duration,
    pub(crate) drain_timeout: std::time::Duration,
    pub(crate) logs: Logs,
}

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A file or directory.
    Path(PathBuf),
    /// Standard input.
    Stdin,
    /// `--listen` and `--to`.
    Lines(Vec<Forward>),
}

/// An address of the admin server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    /// Not asked for by name: a machine without IPv6 does without it.
    pub(crate) optional: bool,
}

/// How logs are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Logs {
    pub(crate) filter: Targets,
    pub(crate) format: said::LogFormat,
    pub(crate) access: Option<AccessLog>,
}

/// How the access log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessLog {
    pub(crate) json: bool,
    /// `None`: standard output.
    pub(crate) file: Option<PathBuf>,
    /// What names the file, for errors about it.
    pub(crate) said_by: String,
}

/// Istio's admin port, which people already know; on loopback, in both families.
const ADMIN_PORT: u16 = 15000;

impl Run {
    /// Builds what is meant. `matches` are those of the subcommand: they know the order of the flags.
    pub(crate) fn build(said: said::Run, matches: &ArgMatches) -> Result<Self, Misuse> {
        let lines = forwards(&said, matches)?;
        let named_by = Origins::new("run", matches);
        if said.print {
            check_print(&said, &lines, &named_by)?;
        }
        let mut inputs = self::inputs(&said.paths)?;
        if !lines.is_empty() {
            inputs.push(Input::Lines(lines));
        }
        if inputs.is_empty() {
            return Err(Misuse(
                "nothing to run: name a directory or file of manifests, or use --listen and --to,\n\
                 such as `ringway run conf/` or `ringway run --listen :8080 --to localhost:3000`"
                    .to_owned(),
            ));
        }
        Ok(Self {
            inputs,
            inputs_variable: Some(named_by.of("paths")).filter(|variable| !variable.is_empty()),
            print: said.print,
            demo_backend: said.demo_backend,
            allow_external_name: said.allow_external_name,
            process: Process::build(said.process, &named_by)?,
        })
    }
}

impl Process {
    /// Builds what is meant.
    pub(crate) fn build(said: said::Process, named_by: &Origins<'_>) -> Result<Self, Misuse> {
        let mut limits = Limits::default();
        limits::set_all(&mut limits, &said.limits)
            .map_err(|reason| Misuse(format!("{}: {reason}", named_by.of("limits"))))?;
        let by = named_by.of("trusted_proxies");
        let trusted_proxies =
            said.trusted_proxies.iter().map(|text| network(text, &by)).collect::<Result<_, _>>()?;
        Ok(Self {
            threads: said.threads.map(usize::from),
            pin: said.pin,
            driver: said.driver,
            limits,
            trusted_proxies,
            route_metrics: usize::from(said.route_metrics),
            admin: admin(&said.admin_addr, &named_by.of("admin_addr"))?,
            drain_delay: said.drain_delay,
            drain_timeout: said.drain_timeout,
            logs: Logs::build(said.logs, named_by)?,
        })
    }
}

/// What `ringway controller` is to do.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) image: Option<String>,
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) context: Option<String>,
    pub(crate) allow_external_name: bool,
    pub(crate) admin: Vec<Admin>,
    pub(crate) log_filter: Targets,
    pub(crate) log_format: said::LogFormat,
}

/// Where it is installed unless said otherwise.
const CONTROLLER_NAMESPACE: &str = "ringway-system";

impl Controller {
    /// `pod_namespace`: where its pod is, if it is in one; `host`: the machine's name and the process's number.
    pub(crate) fn build(
        said: said::Controller,
        matches: &ArgMatches,
        pod_namespace: Option<String>,
        host: String,
    ) -> Result<Self, Misuse> {
        let named_by = Origins::new("controller", matches);
        let listen = said.listen;
        let namespace = said.namespace.or(pod_namespace).unwrap_or_else(|| CONTROLLER_NAMESPACE.to_owned());
        let service = || format!("ringway-controller.{namespace}.svc:{}", listen.port());
        let advertise = said.advertise.unwrap_or_else(service);
        if advertise
            .rsplit_once(':')
            .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            return Err(Misuse(format!(
                "{}: `{advertise}` is no host and port, such as 10.0.0.1:15010",
                named_by.of("advertise")
            )));
        }
        Ok(Self {
            listen,
            advertise,
            namespace,
            name: said.name.unwrap_or(host),
            image: said.image,
            kubeconfig: said.kubeconfig,
            context: said.context,
            allow_external_name: said.allow_external_name,
            admin: admin(&said.admin_addr, &named_by.of("admin_addr"))?,
            log_filter: log_filter(&said.log_level, &named_by)?,
            log_format: said.log_format,
        })
    }

    /// The host that proxies know it by.
    pub(crate) fn host(&self) -> &str {
        self.advertise.rsplit_once(':').map_or(&*self.advertise, |(host, _)| host).trim_matches(['[', ']'])
    }
}

impl Logs {
    fn build(said: said::Logs, named_by: &Origins<'_>) -> Result<Self, Misuse> {
        // Whoever says where the lines go wants them, unless they say that they don't.
        let named = said.access_log_file.is_some();
        let kind =
            said.access_log.unwrap_or(if named { said::AccessLog::Text } else { said::AccessLog::Off });
        let json = match kind {
            said::AccessLog::Off => None,
            said::AccessLog::Text => Some(false),
            said::AccessLog::Json => Some(true),
        };
        let file = said.access_log_file.filter(|file| file != Path::new("-"));
        let access = json.map(|json| AccessLog { json, file, said_by: named_by.of("access_log_file") });
        let filter = log_filter(&said.log_level, named_by)?;
        Ok(Self { filter, format: said.log_format, access })
    }
}

/// What is logged.
pub(crate) fn log_filter(said: &str, named_by: &Origins<'_>) -> Result<Targets, Misuse> {
    filter::parse(said).map_err(|reason| Misuse(format!("{}: {reason}", named_by.of("log_level"))))
}

/// What errors about values of a command name.
pub(crate) struct Origins<'m> {
    command: Command,
    matches: &'m ArgMatches,
}

impl<'m> Origins<'m> {
    /// `matches` are those of the command.
    pub(crate) fn new(command: &str, matches: &'m ArgMatches) -> Self {
        let command =
            said::Said::command().find_subcommand(command).cloned().expect("the command that was parsed");
        Self { command, matches }
    }

    /// The flag of an argument, with its variable if the value stands there.
    pub(crate) fn of(&self, id: &str) -> String {
        let argument = self.command.get_arguments().find(|argument| argument.get_id() == id);
        argument.map(|argument| environment::origin(self.matches, argument)).unwrap_or_default()
    }
}

/// Whether `--print` has something to print, and prints all that there is.
fn check_print(said: &said::Run, lines: &[Forward], named_by: &Origins<'_>) -> Result<(), Misuse> {
    let rest = "`ringway translate -f` shows what manifests come to";
    let Some(path) = said.paths.first() else {
        return if lines.is_empty() {
            Err(Misuse(format!("--print shows what --listen and --to stand for, and there are none; {rest}")))
        } else {
            Ok(())
        };
    };
    let by = named_by.of("paths");
    let by = if by.is_empty() { by } else { format!(" (of {by})") };
    Err(Misuse(format!(
        "--print shows what --listen and --to stand for, and nothing of {}{by}: leave that out; {rest}",
        path.display()
    )))
}

/// Paths of the command line. `-` is standard input, by whatever name.
pub(crate) fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>, Misuse> {
    let standard = |path: &Path| ["-", "/dev/stdin"].iter().any(|name| path == Path::new(name));
    if paths.iter().filter(|path| standard(path)).count() > 1 {
        return Err(Misuse("standard input (-) can be read only once".to_owned()));
    }
    let input = |path: &PathBuf| if standard(path) { Input::Stdin } else { Input::Path(path.clone()) };
    Ok(paths.iter().map(input).collect())
}

fn network(text: &str, by: &str) -> Result<IpNet, Misuse> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>()
        .ok()
        .or_else(address)
        .ok_or_else(|| Misuse(format!("{by}: `{text}` is no network; write 10.0.0.0/8 or one address")))
}

pub(crate) fn admin(said: &[String], by: &str) -> Result<Vec<Admin>, Misuse> {
    if said.is_empty() {
        return Ok(on_loopback(ADMIN_PORT));
    }
    if said == ["off"] {
        return Ok(Vec::new());
    }
    let parse = |text: &String| {
        if let Ok(address) = text.parse() {
            return Ok(vec![Admin { address, optional: false }]);
        }
        // Only whoever names an address shows what is in force to others: there is no authentication.
        let port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
        port.parse().map(on_loopback).map_err(|_| {
            Misuse(format!(
                "{by}: `{text}` is no address; write :15000 (loopback only), 127.0.0.1:15000, [::1]:15000, \
                 0.0.0.0:15000 (where everyone may read it) or off"
            ))
        })
    };
    Ok(said.iter().map(parse).collect::<Result<Vec<_>, _>>()?.concat())
}

/// A port on loopback in both families, as far as the machine has both.
fn on_loopback(port: u16) -> Vec<Admin> {
    let loopback = [(IpAddr::from(Ipv4Addr::LOCALHOST), false), (Ipv6Addr::LOCALHOST.into(), true)];
    let admin = |(address, optional)| Admin { address: SocketAddr::new(address, port), optional };
    loopback.map(admin).into()
}

/// Flags of one line in the order in which they were written.
enum Word<'s> {
    Listen(&'s str),
    To(&'s str),
    Cert(&'s Path),
    Key(&'s Path),
}

fn forwards(said: &said::Run, matches: &ArgMatches) -> Result<Vec<Forward>, Misuse> {
    let mut words: Vec<(usize, Word<'_>)> = Vec::new();
    let places = |id: &str| matches.indices_of(id).into_iter().flatten().collect::<Vec<_>>();
    words.extend(places("listen").into_iter().zip(said.listen.iter().map(|text| Word::Listen(text))));
    words.extend(places("to").into_iter().zip(said.to.iter().map(|text| Word::To(text))));
    words.extend(places("tls_cert").into_iter().zip(said.tls_cert.iter().map(|path| Word::Cert(path))));
    words.extend(places("tls_key").into_iter().zip(said.tls_key.iter().map(|path| Word::Key(path))));
    words.sort_by_key(|(place, _)| *place);

    let misuse = |text: String| Misuse(text);
    let mut forwards: Vec<Forward> = Vec::new();
    for (_, word) in words {
        if let Word::Listen(text) = word {
            forwards.push(Forward::listening(text).map_err(misuse)?);
            continue;
        }
        let Some(forward) = forwards.last_mut() else {
            return Err(Misuse(
                "--to, --tls-cert and --tls-key belong to the --listen before them".to_owned(),
            ));
        };
        match word {
            Word::Listen(_) => unreachable!("handled above"),
            Word::To(text) => forward.to.push(oneline::Target::parse(text).map_err(misuse)?),
            Word::Cert(path) if forward.cert.is_none() => forward.cert = Some(path.to_owned()),
            Word::Key(path) if forward.key.is_none() => forward.key = Some(path.to_owned()),
            Word::Cert(_) | Word::Key(_) => {
                return Err(Misuse(format!("--listen {}: one --tls-cert and one --tls-key", forward.said)));
            }
        }
    }
    for forward in &forwards {
        forward.check().map_err(misuse)?;
    }
    Ok(forwards)
}

/// Parses a whole command line, for tests and for `main`.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<(said::Said, ArgMatches), clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut command = environment::without_empty(said::Said::command());
    command.build();
    let matches = command
        .clone()
        .try_get_matches_from(&arguments)
        .map_err(|error| environment::named(error, &command, &arguments))?;
    Ok((said::Said::from_arg_matches(&matches)?, matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &str) -> Result<Run, Misuse> {
        let words = ["ringway", "run"].into_iter().chain(arguments.split_whitespace());
        let (said, matches) = parse(words).unwrap();
        let said::Command::Run(said) = said.command else { panic!("run") };
        Run::build(*said, matches.subcommand().unwrap().1)
    }

    #[test]
    fn each_to_belongs_to_the_listen_before_it() {
        let run =
            run("--listen :8080 --to a:1 --to b:2 --listen [::1]:8443 --to c:3 --tls-key k --tls-cert c")
                .unwrap();
        let [Input::Lines(forwards)] = &run.inputs[..] else { panic!("{:?}", run.inputs) };
        let shown: Vec<String> = forwards
            .iter()
            .map(|forward| {
                let to: Vec<&str> = forward.to.iter().map(|to| &*to.host).collect();
                format!(
                    "{}>{}{}",
                    forward.said,
                    to.join("+"),
                    if forward.cert.is_some() { " tls" } else { "" }
                )
            })
            .collect();
        assert_eq!(shown, [":8080>a+b", "[::1]:8443>c tls"]);
    }

    #[test]
    fn what_cannot_be_meant_says_what_to_write() {
        for (arguments, expected) in [
            ("", "ringway run --listen :8080 --to localhost:3000"),
            ("- -", "only once"),
            ("--listen :8080", "--to"),
            ("--to a:1 --listen :8080", "belong to the --listen before"),
            ("--listen 8080x --to a:1", "`8080x`"),
            ("--listen :8080 --to a:1 --tls-cert c", "--tls-key"),
            ("--listen :8080 --to a:1 --tls-cert c --tls-key k --tls-cert d", "one --tls-cert"),
            ("d --trusted-proxies ten", "10.0.0.0/8"),
            ("- /dev/stdin", "only once"),
            ("d --admin-addr nowhere", "127.0.0.1:15000"),
            ("d --admin-addr :99999", ":15000 (loopback only)"),
            ("d --log-level loud", "--log-level: `loud` is no level"),
            ("--print", "there are none"),
            ("conf --print", "nothing of conf: leave that out"),
            ("- --print --listen :8080 --to a:1", "nothing of -: leave that out"),
            ("--listen :0 --to a:1", "port 0"),
            ("--listen :99999 --to a:1", "65535"),
            ("d --limit nope=1", "is no limit"),
        ] {
            let error = run(arguments).unwrap_err().to_string();
            assert!(error.contains(expected), "{arguments}: {error}");
        }
    }

    #[test]
    fn the_admin_server_is_on_loopback_in_both_families_unless_said_otherwise() {
        let addresses = |arguments: &str| {
            let admin = run(arguments).unwrap().process.admin;
            admin.iter().map(|admin| (admin.address.to_string(), admin.optional)).collect::<Vec<_>>()
        };
        assert_eq!(addresses("d"), [("127.0.0.1:15000".into(), false), ("[::1]:15000".into(), true)]);
        assert_eq!(addresses("d --admin-addr off"), []);
        assert_eq!(addresses("d --admin-addr 0.0.0.0:1"), [("0.0.0.0:1".into(), false)]);
        for port in [":7", "7", "localhost:7"] {
            let loopback = [("127.0.0.1:7".into(), false), ("[::1]:7".into(), true)];
            assert_eq!(addresses(&format!("d --admin-addr {port}")), loopback);
        }
    }

    #[test]
    fn a_controller_is_reached_at_its_service_unless_said_otherwise() {
        let controller = |arguments: &str| {
            let words = ["ringway", "controller"].into_iter().chain(arguments.split_whitespace());
            let (said, matches) = parse(words).unwrap();
            let said::Command::Controller(said) = said.command else { panic!("controller") };
            let (_, matches) = matches.subcommand().unwrap();
            Controller::build(*said, matches, Some("pod-ns".into()), "host-1".into())
        };
        let meant = controller("").unwrap();
        assert_eq!((&*meant.namespace, &*meant.name, meant.listen.port()), ("pod-ns", "host-1", 15010));
        assert_eq!(meant.advertise, "ringway-controller.pod-ns.svc:15010");
        let meant = controller("--namespace ns --listen 10.0.0.1:1 --advertise [::1]:2").unwrap();
        assert_eq!(
            (&*meant.advertise, meant.host(), meant.listen.to_string()),
            ("[::1]:2", "::1", "10.0.0.1:1".into())
        );
        let error = controller("--advertise host").unwrap_err().to_string();
        assert!(error.contains("10.0.0.1:15010"), "{error}");
    }

    #[test]
    fn flags_are_built_to_what_they_mean() {
        let run = run(
            "d - --threads 3 --pin --driver io_uring --limit header_bytes_max=8KiB --limit idle_timeout=1m \
             --trusted-proxies 10.0.0.0/8,::1 --drain-delay 5s --access-log json --access-log-file /var/log/a",
        )
        .unwrap();
        assert_eq!(run.inputs, [Input::Path("d".into()), Input::Stdin]);
        let run = run.process;
        assert_eq!((run.threads, run.pin, run.driver), (Some(3), true, said::Driver::IoUring));
        assert_eq!(run.limits.header_bytes_max, 8192);
        assert_eq!(
            run.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "::1/128"]
        );
        assert_eq!(run.drain_delay.as_secs(), 5);
        let said_by = "--access-log-file".to_owned();
        assert_eq!(run.logs.access, Some(AccessLog { json: true, file: Some("/var/log/a".into()), said_by }));
    }

    #[test]
    fn a_file_for_the_access_log_asks_for_one() {
        let json = |arguments: &str| run(arguments).unwrap().process.logs.access.map(|access| access.json);
        for (arguments, expected) in [
            ("d", None),
            ("d --access-log-file a", Some(false)),
            ("d --access-log-file -", Some(false)),
            ("d --access-log-file a --access-log json", Some(true)),
            ("d --access-log-file a --access-log off", None),
        ] {
            assert_eq!(json(arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn a_negative_number_is_out_of_range_and_no_flag() {
        for flag in ["--threads", "--route-metrics"] {
            let error = parse(["ringway", "run", "d", flag, "-1"]).unwrap_err().to_string();
            assert!(error.contains("-1 is not in") && !error.contains("tip"), "{error}");
        }
    }
}
