//! The test program: every property on every device of this machine.
//!
//! `cargo test -p taut-tests`, with arguments as of any test program after `--`. A trial is named by device, family and
//! property: `cpu::unary::matches_reference`. `TAUT_CASES` sets the number of generated cases of a property, `TAUT_SEED`
//! what they are generated from, `TAUT_SHAPES=few` keeps the fixed shapes few and small, as a sanitizer needs it,
//! `TAUT_FUZZ_SECONDS` is how long damaged files are tried. Trials on the GPU are ignored where there is none.

mod arrange;
mod attention;
mod binary;
mod bits;
mod budget;
mod copy;
mod cross_entropy;
mod curve;
mod derivative;
mod einsum;
mod empty;
mod errors;
mod fill;
mod fused;
mod fuzz;
mod gather;
mod golden;
mod grad;
mod graph;
mod head;
mod inputs;
mod killed;
mod matmul;
mod minilm;
mod multi;
mod neighbour;
mod norm;
mod norm_backward;
mod offload;
mod ops;
mod optimizer;
mod ownership;
mod packed;
mod plan;
mod pool;
mod program;
mod random;
mod reduce;
mod reset;
mod rows;
mod scan;
mod scatter;
mod select;
mod server;
mod softmax;
mod softmax_backward;
mod sort;
mod stream;
mod tidy;
mod training;
mod transfer;
mod tuning;
mod unary;
mod unary_backward;
mod view;
mod weights;

use std::process::ExitCode;
use taut_tests::Suite;

fn main() -> ExitCode {
    if reset::is_probe() {
        return reset::probe();
    }
    if neighbour::is_neighbour() {
        return neighbour::neighbour();
    }
    if killed::is_trainer() {
        return killed::trainer();
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let mut suite = match Suite::new() {
        Ok(suite) => suite,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(error) = suite.no_gpu() {
        eprintln!("Trials on the GPU are ignored: {error}");
    }
    let families = [
        ops::trials,
        unary::trials,
        unary_backward::trials,
        binary::trials,
        bits::trials,
        copy::trials,
        arrange::trials,
        fused::trials,
        fill::trials,
        random::trials,
        reduce::trials,
        select::trials,
        sort::trials,
        gather::trials,
        scatter::trials,
        scan::trials,
        matmul::trials,
        tuning::trials,
        einsum::trials,
        view::trials,
        transfer::trials,
        weights::trials,
        rows::trials,
        fuzz::trials,
        ownership::trials,
        stream::trials,
        softmax::trials,
        softmax_backward::trials,
        attention::trials,
        packed::trials,
        norm::trials,
        norm_backward::trials,
        cross_entropy::trials,
        multi::trials,
        optimizer::trials,
        golden::trials,
        curve::trials,
        derivative::trials,
        grad::trials,
        head::trials,
        training::trials,
        offload::trials,
        killed::trials,
        graph::trials,
        minilm::trials,
        inputs::trials,
        tidy::trials,
        plan::trials,
        errors::trials,
        empty::trials,
    ];
    families.iter().for_each(|trials| trials(&mut suite));
    suite.alone(|suite| {
        let families = [pool::trials, neighbour::trials, budget::trials, reset::trials, server::trials];
        families.iter().for_each(|trials| trials(suite));
    });
    libtest_mimic::run(&arguments, suite.into_trials()).exit_code()
}
