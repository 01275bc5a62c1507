//! The command line, as the contract has it. Help texts are the man pages' texts too.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::capture::Listen;
use crate::model::Severity;

#[derive(Debug, Parser)]
#[command(
    name = "eastwatch",
    version,
    about = "See what virtualization hid: VMs, their services, and what no one sanctioned, from mirrored packets",
    after_help = "Exit status: 0 done · 1 the run failed · 2 usage · 3 --fail-on found something",
    max_term_width = 110,
    propagate_version = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The embedded store [default: ./eastwatch-state for read, /var/lib/eastwatch for watch]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Configuration (TOML); every key has a default
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say less: no summary, only errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more (twice: everything)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Csv,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Analyse captures (pcap, pcapng, .gz, .zst, - for stdin) and exit
    Read(ReadArgs),
    /// Analyse live mirror sources until stopped (SIGINT or SIGTERM: drain, save, exit 0)
    Watch(WatchArgs),
    /// List the VMs that were seen
    Vms(VmsArgs),
    /// List the services they offer, with the proof
    Services(ServicesArgs),
    /// List who uses whose services
    Peers(QueryArgs),
    /// List, show and handle incidents
    Incidents(IncidentsArgs),
    /// Import an inventory, or list its VMs seen and unseen
    #[command(subcommand)]
    Inventory(InventoryCommand),
    /// Explain why something is, or is not, an incident, with the evidence
    Why(WhyArgs),
    /// Show, carry, compare or reset what was learned
    #[command(subcommand)]
    Baseline(BaselineCommand),
    /// Approve a service, with owner, reason, ticket and expiry
    #[command(subcommand)]
    Sanction(SanctionCommand),
    /// Validate the configuration, or print it with where each value came from
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check permissions, interfaces, clock, store and sources: what is wrong and the mend
    Doctor(DoctorArgs),
    /// Print a shell completion script
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder
    Man {
        /// Where to write them
        dir: PathBuf,
    },
}

/// Options shared by `read` and `watch`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Append EVE JSON lines to a file, or write them to stdout (-)
    #[arg(long, value_name = "FILE|-")]
    pub eve: Option<PathBuf>,
    /// auto: each VM learns until its baseline is ripe, then is enforced [default: auto]
    #[arg(long, value_name = "MODE", value_parser = ["auto", "learn", "enforce"])]
    pub mode: Option<String>,
    /// Where VMs live: auto, or networks separated by commas [default: auto]
    #[arg(long, value_name = "auto|CIDR[,CIDR]")]
    pub home: Option<String>,
    /// VM inventory to load, in any format of `inventory import`
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
    /// Capture filter (BPF, as tcpdump's)
    #[arg(long, value_name = "BPF")]
    pub filter: Option<String>,
    /// Packet workers: a number, or auto (cores - 1) [default: 1]
    #[arg(long, value_name = "N|auto")]
    pub workers: Option<String>,
    /// Exit 3 when an incident of at least this severity was opened
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,
    /// Draw no progress bar
    #[arg(long)]
    pub no_progress: bool,
    /// Write an EVE flow record for each flow that ends
    #[arg(long)]
    pub flows: bool,
}

#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Capture files; several are one stream in time order
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Begin with an empty state
    #[arg(long)]
    pub fresh: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Mirror interface; repeatable
    #[arg(short, long = "interface", value_name = "IFACE", num_args = 1..)]
    pub interface: Vec<String>,
    /// Mirror, flow export or capture stream to listen for; repeatable, with or without -i. KIND: vxlan, geneve, gre,
    /// tzsp, netflow, ipfix, sflow (UDP) or pcap (TCP, 127.0.0.1 unless ADDR is named: it knows no passwords)
    #[arg(long, value_name = "KIND:[ADDR:]PORT")]
    pub listen: Vec<Listen>,
    /// Record what is analysed (packets and steps of time) so that `read` replays it to the same bytes
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Clone, Debug, Default, Args)]
pub struct QueryArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Only this VM (id, name or address)
    #[arg(long, value_name = "VM")]
    pub vm: Option<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct VmsArgs {
    #[command(flatten)]
    pub query: QueryArgs,
    /// Show on which host each was, and when
    #[arg(long)]
    pub history: bool,
    /// Show the roles: VMs with the same job
    #[arg(long, conflicts_with_all = ["history", "vm"])]
    pub roles: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub struct ServicesArgs {
    #[command(flatten)]
    pub query: QueryArgs,
    /// Only services in this state: observed, learned, sanctioned, unsanctioned, gone
    #[arg(long, value_name = "STATE", value_parser = ["observed", "learned", "sanctioned", "unsanctioned", "gone"])]
    pub only: Option<String>,
}

#[derive(Debug, Args)]
pub struct IncidentsArgs {
    #[command(subcommand)]
    pub command: Option<IncidentsCommand>,
    #[command(flatten)]
    pub list: IncidentListArgs,
}

#[derive(Clone, Debug, Default, Args)]
pub struct IncidentListArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Only this VM (id, name or address)
    #[arg(long, value_name = "VM")]
    pub vm: Option<String>,
    /// Only incidents in this state: open, growing, acknowledged, resolved
    #[arg(long, value_name = "STATE")]
    pub only: Option<crate::model::IncidentState>,
    /// Only incidents of at least this severity
    #[arg(long, value_name = "SEVERITY")]
    pub min_severity: Option<Severity>,
    /// Only incidents of this rank: page, notice, digest
    #[arg(long, value_name = "RANK")]
    pub rank: Option<crate::model::Rank>,
    /// How many were of which rank, day by day
    #[arg(long, conflicts_with_all = ["vm", "only", "min_severity", "rank"])]
    pub by_day: bool,
}

#[derive(Debug, Subcommand)]
pub enum IncidentsCommand {
    /// List incidents
    List(IncidentListArgs),
    /// Show one incident with its findings and timeline
    Show {
        id: String,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Say that someone is on it
    Ack(HandleArgs),
    /// Close it
    Resolve(HandleArgs),
    /// Add a remark
    Comment(HandleArgs),
    /// Print all incidents with findings and timeline as JSON
    Export,
}

#[derive(Debug, Args)]
pub struct HandleArgs {
    pub id: String,
    /// What to note in the timeline
    #[arg(short, long, default_value = "")]
    pub message: String,
    /// Who says so [default: the user's name]
    #[arg(long = "as", value_name = "NAME")]
    pub by: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum InventoryCommand {
    /// Take VMs from files, in place of what their source listed before
    Import(InventoryImportArgs),
    /// List imported VMs, seen or not
    List {
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub struct InventoryImportArgs {
    /// Files, or folders of them: libvirt XML, Proxmox, RVTools, OpenStack, NetBox, or our own TOML and CSV
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// All of them are this one source [default: each file or folder is a source by its own name]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// What they are [default: what they show]
    #[arg(long, value_name = "FORMAT", value_parser = ["toml", "csv", "libvirt", "proxmox", "rvtools", "openstack", "netbox"])]
    pub format: Option<String>,
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// VM: id, name or address
    pub vm: String,
    /// Service, as tcp/4444
    #[arg(value_name = "PROTO/PORT")]
    pub service: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// How ripe each VM's baseline is, and what it waits for
    Status(QueryArgs),
    /// Write what was learned: for review, git, signing, another probe; or as rules of a firewall, for review
    Export {
        /// Where to [default: stdout]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// How to write it [default: toml]
        #[arg(long, value_parser = ["toml", "json"], conflicts_with = "rules")]
        format: Option<String>,
        /// As allow rules of this kind; eastwatch itself never enforces
        #[arg(long = "as", value_name = "RULES", value_parser = ["nftables", "nsx-csv", "k8s-networkpolicy", "aws-security-group"])]
        rules: Option<String>,
    },
    /// Take a baseline from an export, as it is or edited; shows what changes
    Import {
        file: PathBuf,
        /// Only show what would change
        #[arg(long)]
        dry_run: bool,
        /// Take it only if one of these keys (minisign, ssh-ed25519) signed it: FILE.minisig or FILE.sig
        #[arg(long, value_name = "KEYS")]
        verify: Option<PathBuf>,
    },
    /// Compare an export with the baseline, two exports, or two days
    Diff {
        #[arg(required_unless_present = "from")]
        file: Option<PathBuf>,
        other: Option<PathBuf>,
        /// What was learned after this day
        #[arg(long, value_name = "DATE", conflicts_with = "file")]
        from: Option<String>,
        /// And not after this one [default: now]
        #[arg(long, value_name = "DATE", requires = "from")]
        to: Option<String>,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Read captures and print the rates and the alerts a day they imply; keeps nothing
    Calibrate(CalibrateArgs),
    /// Forget what was learned of one VM, or of all
    Reset {
        /// VM: id, name or address
        #[arg(required_unless_present = "all")]
        vm: Option<String>,
        /// Forget all of them
        #[arg(long, conflicts_with = "vm")]
        all: bool,
    },
}

#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Capture files (pcap, pcapng, .gz, .zst), or - for stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Where VMs live: auto, or networks separated by commas [default: auto]
    #[arg(long, value_name = "auto|CIDR[,CIDR]")]
    pub home: Option<String>,
    /// VM inventory to load, in any format of `inventory import`
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
    /// Capture filter (BPF, as tcpdump's)
    #[arg(long, value_name = "BPF")]
    pub filter: Option<String>,
    /// Packet workers: a number, or auto (cores - 1) [default: 1]
    #[arg(long, value_name = "N|auto")]
    pub workers: Option<String>,
    /// Show no progress bar
    #[arg(long)]
    pub no_progress: bool,
}

#[derive(Debug, Subcommand)]
pub enum SanctionCommand {
    /// Approve a service of a VM
    Add(SanctionAddArgs),
    /// Withdraw an approval
    Remove {
        /// VM: id, name or address
        vm: String,
        /// Service, as tcp/443
        #[arg(value_name = "PROTO/PORT")]
        service: String,
    },
    /// List approvals with their hits
    List {
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Take approvals from a CSV file: vm,service,app,owner,reason,ticket,expires
    Import { file: PathBuf },
}

#[derive(Debug, Args)]
pub struct SanctionAddArgs {
    /// VM: id, name or address
    pub vm: String,
    /// Service, as tcp/443
    #[arg(value_name = "PROTO/PORT")]
    pub service: String,
    /// Only while the payload proves this application (pgsql, or another name of it: postgresql)
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// Who answers for it
    #[arg(long)]
    pub owner: String,
    /// What it is for
    #[arg(long)]
    pub reason: String,
    /// Reference into a ticket system
    #[arg(long)]
    pub ticket: Option<String>,
    /// Until when: 90d, 12h, or 2027-01-01 [default: no expiry]
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Find every fault in the configuration
    Check,
    /// Print the effective configuration with where each value came from
    Show,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Interface to check; repeatable
    #[arg(short, long = "interface", value_name = "IFACE", num_args = 1..)]
    pub interface: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}
