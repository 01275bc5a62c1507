//! The measure of `make corpus` as a test: the targets hold over the corpus where it lies beside the checkout.

use std::path::Path;

use super::harness::corpus;
use crate::corpus::measure;

#[test]
fn services_and_applications_of_the_corpus_are_found_and_every_difference_is_explained() {
    let Some(corpus) = corpus() else {
        eprintln!("the corpus is not beside this checkout: nothing was measured");
        return;
    };
    // Recordings depend on the machine; recorded.rs judges them.
    let measured = measure(&corpus, Path::new("no-recordings")).unwrap();
    assert_eq!(measured.captures, 141, "the truth names other captures than docs/corpus.md speaks of");
    let failures = measured.failures();
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), measured.print());
    let unexplained: Vec<String> = [&measured.services.differences, &measured.apps.differences]
        .into_iter()
        .flatten()
        .filter(|d| d.explained.is_none())
        .map(|d| format!("{} {} {:?} {}", d.what, d.path, d.key, d.note))
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    let of_ndpi = measured.ndpi.differences.iter().filter(|d| d.explained.is_none());
    let of_ndpi: Vec<String> = of_ndpi.map(|d| format!("{} {} {} {:?}", d.path, d.protocol, d.told, d.ends)).collect();
    assert!(of_ndpi.is_empty(), "{of_ndpi:#?}");
}
