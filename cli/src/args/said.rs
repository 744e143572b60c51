//! What was said on the command line and in the environment, word for word. Nothing is decided here.
//!
//! Every flag of `run` has an environment variable of its name, so that a container needs no arguments.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{limits, units};
use crate::exit;

/// With the commit, if it is known (`build.rs`).
pub(crate) const VERSION: &str = env!("RINGWAY_VERSION");

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default());

/// A service mesh and ingress gateway in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "ringway",
    version = VERSION,
    styles = STYLES,
    propagate_version = true,
    after_help = format!("{EXAMPLES}\n\n{}", exit::listed())
)]
pub(crate) struct Said {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ringway run conf/                                  serve what the manifests in conf/ say, and follow their changes
  ringway run --listen :8080 --to localhost:3000     a reverse proxy in one line
  ringway validate -f conf/                          find what is wrong before anyone runs it
  ringway explain -f conf/ GET https://shop.example/cart
                                                     which route would serve this, and why no other";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a gateway on Gateway API manifests, and follow their changes.
    Run(Box<Run>),
    /// Run a gateway that a controller configures.
    Proxy(Box<Proxy>),
    /// Configure the gateways of a Kubernetes cluster, or proxies by manifests; follow changes.
    Controller(Box<Controller>),
    /// Find what is wrong with manifests; exit 1 if anything is.
    Validate(Validate),
    /// Print the proxy configuration that manifests stand for.
    Translate(Translate),
    /// Say what would serve a request, and why nothing else would.
    Explain(Explain),
    /// Print the manifests that bring ringway into a Kubernetes cluster.
    Install(Install),
    /// Print what `kubectl delete` takes out again.
    Uninstall(Uninstall),
    /// Serve a tiny backend that answers every request with what it was.
    DemoBackend(DemoBackend),
    /// Measure how long requests take, of anything that answers.
    Perf(Box<ringway_perf::Args>),
    /// Print the version.
    Version,
}

const RUN_EXAMPLES: &str = "\
Examples:
  ringway run conf/                           all .yaml, .yml and .json files of a directory
  ringway run gateway.yaml routes.yaml
  kustomize build . | ringway run -           standard input, read once
  ringway run --listen :8080 --to localhost:3000
  ringway run --listen :8443 --tls-cert cert.pem --tls-key key.pem --to 10.0.0.1:80 --to 10.0.0.2:80
  ringway run --listen :8080 --to localhost:3000 --print
                                              the manifests that the flags stand for

Signals:
  TERM, INT   drain and exit; a second one exits at once
  HUP         read all files again, reopen logs
  USR1        reopen logs";

#[derive(Args, Debug)]
#[command(after_help = RUN_EXAMPLES, after_long_help = format!("{RUN_EXAMPLES}\n\nLimits and their defaults:\n{}", limits::listed()))]
pub(crate) struct Run {
    /// Manifests: directories, files, or - for standard input.
    #[arg(value_name = "DIR|FILE|-", env = "RINGWAY_CONFIG", value_delimiter = ',')]
    pub(crate) paths: Vec<PathBuf>,

    /// Listen on an address without a manifest: `:8080`, `127.0.0.1:8080`, `[::1]:8080`. Repeatable.
    #[arg(long, value_name = "[ADDRESS]:PORT", help_heading = "One line")]
    pub(crate) listen: Vec<String>,

    /// Where the --listen before it sends requests: `host:port`, `https://host`, `h2c://host:port`. Repeatable.
    #[arg(long, value_name = "[SCHEME://]HOST:PORT", requires = "listen", help_heading = "One line")]
    pub(crate) to: Vec<String>,

    /// Certificate chain (PEM) for the --listen before it, which then speaks HTTPS.
    #[arg(long, value_name = "FILE", requires = "listen", help_heading = "One line")]
    pub(crate) tls_cert: Vec<PathBuf>,

    /// Private key (PEM) of the --tls-cert before it.
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "One line")]
    pub(crate) tls_key: Vec<PathBuf>,

    /// Print the manifests that --listen and --to stand for, without private keys, and exit.
    #[arg(long, help_heading = "One line")]
    pub(crate) print: bool,

    /// Also serve the demo backend, for trying things out.
    #[arg(
        long,
        env = "RINGWAY_DEMO_BACKEND",
        value_name = "ADDRESS:PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "127.0.0.1:3000",
        help_heading = "One line"
    )]
    pub(crate) demo_backend: Option<std::net::SocketAddr>,

    /// Let routes lead to Services of type ExternalName (any name that DNS knows).
    #[arg(long, env = "RINGWAY_ALLOW_EXTERNAL_NAME", value_parser = BoolishValueParser::new(), help_heading = "Process")]
    pub(crate) allow_external_name: bool,

    #[command(flatten)]
    pub(crate) process: Process,
}

/// How a gateway's process is to be, whatever configures it.
#[derive(Args, Debug)]
pub(crate) struct Process {
    /// Data threads. Default: one for each CPU that this process may use.
    #[arg(long, env = "RINGWAY_THREADS", value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Process")]
    pub(crate) threads: Option<u16>,

    /// Pin each data thread to a CPU, even if others use it too.
    #[arg(long, env = "RINGWAY_PIN", value_parser = BoolishValueParser::new(), help_heading = "Process")]
    pub(crate) pin: bool,

    /// How the kernel is asked for I/O. `auto`: io_uring where it is allowed, else epoll.
    #[arg(long, env = "RINGWAY_DRIVER", value_enum, default_value_t, help_heading = "Process")]
    pub(crate) driver: Driver,

    /// Set a limit, such as `header_bytes_max=64KiB` or `idle_timeout=10m`. Repeatable; --help lists all.
    #[arg(
        long = "limit",
        env = "RINGWAY_LIMITS",
        value_name = "NAME=VALUE",
        value_delimiter = ',',
        help_heading = "Process"
    )]
    pub(crate) limits: Vec<String>,

    /// Proxies in front of this one, whose X-Forwarded-For and X-Request-ID are believed. Repeatable.
    #[arg(
        long,
        env = "RINGWAY_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ',',
        help_heading = "Process"
    )]
    pub(crate) trusted_proxies: Vec<String>,

    /// Count requests of the N busiest routes apart. Default: routes are not told apart.
    #[arg(
        long,
        env = "RINGWAY_ROUTE_METRICS",
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 0,
        value_parser = clap::value_parser!(u16).range(..=1000),
        help_heading = "Operation"
    )]
    pub(crate) route_metrics: u16,

    /// Where /ready, /live, /metrics, /config and /status are answered: an address, `:PORT` on loopback, or `off`.
    /// Repeatable. Default: `:15000`.
    #[arg(
        long,
        env = "RINGWAY_ADMIN_ADDR",
        value_name = "[ADDRESS]:PORT|off",
        value_delimiter = ',',
        help_heading = "Operation"
    )]
    pub(crate) admin_addr: Vec<String>,

    /// How long to go on accepting after the signal to stop, while /ready fails: for load balancers to notice.
    #[arg(long, env = "RINGWAY_DRAIN_DELAY", value_name = "DURATION", default_value = "0", value_parser = units::duration, help_heading = "Operation")]
    pub(crate) drain_delay: std::time::Duration,

    /// How long requests under way may take to finish after that.
    #[arg(long, env = "RINGWAY_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = units::duration, help_heading = "Operation")]
    pub(crate) drain_timeout: std::time::Duration,

    #[command(flatten)]
    pub(crate) logs: Logs,
}

const PROXY_EXAMPLES: &str = "\
Examples:
  ringway proxy --controller https://ringway-controller.ringway-system:15010 --gateway shop/edge \\
      --name \"$HOSTNAME\" --token-file /run/secrets/token --ca-file /etc/ringway/ca.crt --last-good /run/ringway/last-good

Signals:
  TERM, INT   drain and exit; a second one exits at once
  HUP, USR1   reopen logs";

#[derive(Args, Debug)]
#[command(after_help = PROXY_EXAMPLES)]
pub(crate) struct Proxy {
    /// Where the controller is: `https://host:port`.
    #[arg(long, env = "RINGWAY_CONTROLLER", value_name = "URL", help_heading = "Controller")]
    pub(crate) controller: String,

    /// Whose configuration to ask for.
    #[arg(long, env = "RINGWAY_GATEWAY", value_name = "NAMESPACE/NAME", help_heading = "Controller")]
    pub(crate) gateway: String,

    /// What this proxy is called: the name of its pod.
    #[arg(long, env = "RINGWAY_NAME", value_name = "NAME", help_heading = "Controller")]
    pub(crate) name: String,

    /// The token that proves who this proxy is; read for each connection.
    #[arg(long, env = "RINGWAY_TOKEN_FILE", value_name = "FILE", help_heading = "Controller")]
    pub(crate) token_file: Option<PathBuf>,

    /// Certificates (PEM) of the authority that signed the controller's; read for each connection.
    #[arg(long, env = "RINGWAY_CA_FILE", value_name = "FILE", help_heading = "Controller")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Where the last good configuration is kept, to start from when the controller is away. It holds private keys.
    #[arg(long, env = "RINGWAY_LAST_GOOD", value_name = "FILE", help_heading = "Controller")]
    pub(crate) last_good: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) process: Process,
}

const CONTROLLER_EXAMPLES: &str = "\
Examples:
  ringway controller                          in a cluster, as `ringway install` deploys it
  ringway controller --kubeconfig ~/.kube/config --context kind --advertise 192.0.2.1:15010
                                              outside of it, where proxies reach this machine
  ringway controller conf/ --token-file token --tls-cert cert.pem --tls-key key.pem
                                              without a cluster
  ringway controller conf/ --insecure --listen 127.0.0.1:15010       for trying things out";

#[derive(Args, Debug)]
#[command(after_help = CONTROLLER_EXAMPLES)]
pub(crate) struct Controller {
    /// Manifests: directories or files, instead of a cluster.
    #[arg(value_name = "DIR|FILE", env = "RINGWAY_CONFIG", value_delimiter = ',')]
    pub(crate) paths: Vec<PathBuf>,

    /// Where proxies connect.
    #[arg(long, env = "RINGWAY_LISTEN", value_name = "ADDRESS:PORT", default_value = "[::]:15010")]
    pub(crate) listen: std::net::SocketAddr,

    /// The token that every proxy must show.
    #[arg(
        long,
        env = "RINGWAY_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "insecure",
        requires = "paths"
    )]
    pub(crate) token_file: Option<PathBuf>,

    /// Certificate chain (PEM) shown to proxies; a renewed one is used for new connections.
    #[arg(long, env = "RINGWAY_TLS_CERT", value_name = "FILE", requires_all = ["tls_key", "paths"])]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key (PEM) of that certificate.
    #[arg(long, env = "RINGWAY_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Let anyone have everything, private keys included, without a token or TLS.
    #[arg(long, env = "RINGWAY_INSECURE", value_parser = BoolishValueParser::new(), requires = "paths")]
    pub(crate) insecure: bool,

    /// How proxies reach it. Default: the Service `ringway-controller` of its namespace, at the port of --listen.
    #[arg(long, env = "RINGWAY_ADVERTISE", value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,

    /// The namespace that it is installed in: of its Lease and its authority. Default: that of its pod.
    #[arg(long, env = "RINGWAY_NAMESPACE", value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// What it is called among its replicas. Default: the name of the machine, and its process.
    #[arg(long, env = "RINGWAY_NAME", value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// The image of the proxies that it deploys for each Gateway. Without one it deploys none.
    #[arg(long, env = "RINGWAY_IMAGE", value_name = "IMAGE")]
    pub(crate) image: Option<String>,

    /// A kubeconfig. Default: the cluster that it runs in, else what kubectl would use.
    #[arg(long, env = "RINGWAY_KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// A context of the kubeconfig. Default: its current one.
    #[arg(long, env = "RINGWAY_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Let routes lead to Services of type ExternalName (any name that DNS knows).
    #[arg(long, env = "RINGWAY_ALLOW_EXTERNAL_NAME", value_parser = BoolishValueParser::new())]
    pub(crate) allow_external_name: bool,

    /// Where /ready, /live, /metrics, /config and /status are answered: an address, or `off`. Repeatable.
    #[arg(long, env = "RINGWAY_ADMIN_ADDR", value_name = "ADDRESS:PORT|off", value_delimiter = ',')]
    pub(crate) admin_addr: Vec<String>,

    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or by module: `info,ringway_controller=debug`.
    #[arg(long, env = "RINGWAY_LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    pub(crate) log_level: String,

    /// How it is logged, to standard error.
    #[arg(long, env = "RINGWAY_LOG_FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// What is logged: `off`, `error`, `warn`, `info`, `debug`, `trace`, or by crate: `warn,ringway_proxy=debug`.
    #[arg(
        long,
        env = "RINGWAY_LOG_LEVEL",
        value_name = "FILTER",
        default_value = "info",
        help_heading = "Logs"
    )]
    pub(crate) log_level: String,

    /// How it is logged, to standard error.
    #[arg(long, env = "RINGWAY_LOG_FORMAT", value_enum, default_value_t, help_heading = "Logs")]
    pub(crate) log_format: LogFormat,

    /// One line for each request. `text` is Envoy's default format. Default: `off`, or `text` with --access-log-file.
    #[arg(long, env = "RINGWAY_ACCESS_LOG", value_enum, help_heading = "Logs")]
    pub(crate) access_log: Option<AccessLog>,

    /// Where these lines go: a file, reopened on HUP and USR1, or - for standard output. Default: `-`.
    #[arg(long, env = "RINGWAY_ACCESS_LOG_FILE", value_name = "FILE", help_heading = "Logs")]
    pub(crate) access_log_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Driver {
    #[default]
    Auto,
    IoUring,
    Epoll,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessLog {
    Off,
    Text,
    Json,
}

/// The manifests of a command that needs no running gateway.
#[derive(Args, Debug)]
pub(crate) struct Manifests {
    /// Manifests: directories, files, or - for standard input. Repeatable.
    #[arg(short = 'f', long = "file", value_name = "DIR|FILE|-", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ringway validate -f conf/\n  kustomize build . | ringway validate -f - -o json\n  ringway validate -f <(kustomize build .)\n  ringway validate --explain RW1405           what a code means, and what to do"
)]
pub(crate) struct Validate {
    /// Manifests: directories, files, or - for standard input. Repeatable.
    #[arg(short = 'f', long = "file", value_name = "DIR|FILE|-", required_unless_present = "explain")]
    pub(crate) files: Vec<PathBuf>,

    /// Say what a code of a finding means, and what to do about it; `all` for every code.
    #[arg(long, value_name = "CODE|all", conflicts_with = "files")]
    pub(crate) explain: Option<String>,

    /// How problems are printed.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: ProblemFormat,

    /// As for `run`.
    #[arg(long, env = "RINGWAY_ALLOW_EXTERNAL_NAME", value_parser = BoolishValueParser::new())]
    pub(crate) allow_external_name: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProblemFormat {
    #[default]
    Text,
    Json,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ringway translate -f conf/ -o yaml > before.yaml")]
pub(crate) struct Translate {
    #[command(flatten)]
    pub(crate) manifests: Manifests,

    /// How the configuration is printed.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: ValueFormat,

    /// As for `run`.
    #[arg(long, env = "RINGWAY_ALLOW_EXTERNAL_NAME", value_parser = BoolishValueParser::new())]
    pub(crate) allow_external_name: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ValueFormat {
    #[default]
    Yaml,
    Json,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ringway explain -f conf/ GET http://shop.example/cart\n  ringway explain -f conf/ POST https://shop.example/ -H 'x-canary: 1' --client 203.0.113.7"
)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) manifests: Manifests,

    /// The request's method.
    #[arg(value_name = "METHOD")]
    pub(crate) method: String,

    /// The request's URL.
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// A header field, as `name: value`. Repeatable.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,

    /// The client's address.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) client: std::net::IpAddr,

    /// How the explanation is printed.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: ProblemFormat,

    /// As for `run`.
    #[arg(long, env = "RINGWAY_ALLOW_EXTERNAL_NAME", value_parser = BoolishValueParser::new())]
    pub(crate) allow_external_name: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ringway install | kubectl apply --server-side -f -\n  ringway install --ha --image registry.example/ringway:0.1.0 | kubectl apply --server-side -f -\n\nUpgrading is installing again with the new version. What is installed: docs/kubernetes.md"
)]
pub(crate) struct Install {
    /// The namespace of the controller. It is made.
    #[arg(long, value_name = "NAMESPACE", default_value = "ringway-system", value_parser = dns_label)]
    pub(crate) namespace: String,

    /// The image of the controller and of the proxies, with its tag.
    #[arg(long, env = "RINGWAY_IMAGE", value_name = "IMAGE", default_value = concat!("ringway:", env!("CARGO_PKG_VERSION")))]
    pub(crate) image: String,

    /// Two controllers on different nodes, either of which may be lost.
    #[arg(long)]
    pub(crate) ha: bool,

    /// What the controller logs, as for `run`.
    #[arg(long, value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  ringway uninstall | kubectl delete --ignore-not-found -f -\n\nDelete the Gateways of the class `ringway` first: their proxies go with them."
)]
pub(crate) struct Uninstall {
    /// The namespace that it was installed in. It is deleted with all that is in it.
    #[arg(long, value_name = "NAMESPACE", default_value = "ringway-system", value_parser = dns_label)]
    pub(crate) namespace: String,
}

/// A name that Kubernetes takes for a namespace.
fn dns_label(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    let told = || "a namespace is up to 63 of a-z, 0-9 and dashes inside".to_owned();
    fits.then(|| text.to_owned()).ok_or_else(told)
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ringway demo-backend --listen 127.0.0.1:3001\n  curl 'http://127.0.0.1:3001/cart?item=1'"
)]
pub(crate) struct DemoBackend {
    /// Where it listens.
    #[arg(long, env = "RINGWAY_DEMO_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000")]
    pub(crate) listen: std::net::SocketAddr,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Said::command().debug_assert();
    }

    #[test]
    fn every_flag_about_the_process_has_an_environment_variable_of_its_name() {
        let command = Said::command();
        let run = command.get_subcommands().find(|command| command.get_name() == "run").unwrap();
        let process = ["Process", "Operation", "Logs"];
        let flags: Vec<_> = run
            .get_arguments()
            .filter(|argument| argument.get_help_heading().is_some_and(|heading| process.contains(&heading)))
            .collect();
        assert_eq!(flags.len(), 14, "threads, pin, driver, limits and so on");
        for flag in flags {
            let long = flag.get_long().unwrap();
            let name = if long == "limit" { "limits" } else { long };
            let expected = format!("RINGWAY_{}", name.replace('-', "_").to_uppercase());
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(&*expected));
        }
    }

    #[test]
    fn the_document_lists_every_flag_that_has_a_variable() {
        let section = |name: &str| {
            let (_, section) =
                include_str!("../../../docs/cli.md").split_once(&*format!("## Flags of `{name}`"))?;
            section.split("\n## ").next()
        };
        let variable = |line: &str| -> Vec<String> {
            let words = line.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            words.filter(|word| word.starts_with("RINGWAY_")).map(str::to_owned).collect()
        };
        let written = |name: &str| -> BTreeSet<String> {
            let rows =
                section(name).expect("a section of its own").lines().filter(|line| line.starts_with("| `"));
            rows.flat_map(&variable).collect()
        };
        let said = Said::command();
        let expected = |name: &str| -> BTreeSet<String> {
            let command = said.find_subcommand(name).expect("a command of ours");
            command.get_arguments().filter_map(|it| Some(it.get_env()?.to_str()?.to_owned())).collect()
        };
        let run = expected("run");
        assert_eq!(written("run"), run);
        // What the others have in common with it stands there only.
        for name in ["proxy", "controller"] {
            let here = written(name);
            let missing: Vec<_> =
                expected(name).into_iter().filter(|it| !here.contains(it) && !run.contains(it)).collect();
            assert_eq!(missing, Vec::<String>::new(), "{name}");
            assert!(here.is_subset(&expected(name)), "{name}: {here:?}");
        }
    }
}
