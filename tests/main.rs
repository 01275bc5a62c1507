//! Behaviour, as a user meets it: through the command, on captures that the tests make themselves, and on the corpus
//! where it lies beside the checkout.

mod corpus;
/// Simulated sites, the same code as `make scenarios`.
#[allow(dead_code)]
mod site;

mod suite {
    mod apps;
    mod bad_input;
    mod carry;
    mod cases;
    mod class_scenarios;
    mod corpus;
    /// The demo's data centre, the same code.
    #[allow(dead_code)]
    #[path = "../../examples/datacentre.rs"]
    mod datacentre;
    mod day0_scenarios;
    mod detect_scenarios;
    mod determinism;
    mod docs;
    mod encapsulations;
    mod evasions;
    mod flow_records;
    mod follow;
    mod follow_recorded;
    mod harness;
    mod hostile;
    mod import_killed;
    mod media_scenarios;
    mod mirror_scenarios;
    mod policy_sites;
    mod quality;
    mod queries;
    mod reassembly;
    mod recorded;
    mod scenarios;
    mod sites;
    mod stack_scenarios;
    mod state_size;
    mod transfer_scenarios;
    mod twin_corpus;
    mod twins;
    mod watch;
}
