//! Behaviour, as a user meets it: through the command, on captures that the tests make themselves, and on the corpus
//! where it lies beside the checkout.

mod suite {
    mod cases;
    mod docs;
    mod harness;
    mod queries;
    mod recorded;
    mod scenarios;
}
