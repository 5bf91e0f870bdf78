//! The bench program: measures the groups that are asked for, prints tables, and writes `latest.json` and `index.html`.

use std::{path::PathBuf, process::ExitCode};
use taut::{Device, Tuning};
use taut_benches::{
    Bench, curve, encoder, figures, host, layers, learn, memory, model, multi, page, pool, products,
    throughput, timeline, training, tuning,
};

const HELP: &str = "\
taut-bench [GROUP].. [--quick] [--ops OP,..] [--timeline] [--device cpu|cuda] [--data DIR] [--out DIR] [--tuning FILE]
taut-bench --tune FILE [--shapes FILE] [--ops OP,..]

Groups: host, throughput, multi, products, layers, memory, training, train, curve, model, encoder. Without one, all of them;
`--only GROUP` names one too. `memory` measures `training` as well, and `pool` is what of `memory` needs no program.
--ops limits the throughput to the methods of these names: relu,sum,matmul, or launch; and lists, products, training and the encoder
to rows with one of these in their name: '512 x 4096,TN'.
--timeline shows for each work of the group memory what lived when: on the page, and in DIR/timeline/ as a trace that
ui.perfetto.dev opens.
--tune times the products of the group of that name, or of the lines of --shapes, in all ways that there are, and writes those
that won to a table; --tuning measures with such a table.
";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Options {
    quick: bool,
    only: Vec<String>,
    ops: Vec<String>,
    timeline: bool,
    device: Option<String>,
    data: PathBuf,
    out: PathBuf,
    tuning: Option<PathBuf>,
    tune: Option<PathBuf>,
    shapes: Option<PathBuf>,
}

fn main() -> ExitCode {
    match parse().and_then(|options| options.map_or(Ok(()), run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("taut-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The options, or none where the help was asked for.
fn parse() -> Outcome<Option<Options>> {
    use lexopt::prelude::*;
    let (data, out) = ("target/data".into(), "target/bench".into());
    let (only, ops) = (Vec::new(), Vec::new());
    let (tuning, tune, shapes) = (None, None, None);
    let mut options =
        Options { quick: false, only, ops, timeline: false, device: None, data, out, tuning, tune, shapes };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => options.quick = true,
            Long("only") => options.only.push(parser.value()?.string()?),
            Value(group) => options.only.push(group.string()?),
            Long("timeline") => options.timeline = true,
            Long("ops") => options.ops.extend(parser.value()?.string()?.split(',').map(str::to_owned)),
            Long("device") => options.device = Some(parser.value()?.string()?),
            Long("data") => options.data = parser.value()?.into(),
            Long("out") => options.out = parser.value()?.into(),
            Long("tuning") => options.tuning = Some(parser.value()?.into()),
            Long("tune") => options.tune = Some(parser.value()?.into()),
            Long("shapes") => options.shapes = Some(parser.value()?.into()),
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let known = [
        host::GROUP,
        throughput::GROUP,
        multi::GROUP,
        products::GROUP,
        layers::GROUP,
        memory::GROUP,
        pool::PART,
        training::GROUP,
        learn::GROUP,
        curve::GROUP,
        model::GROUP,
        encoder::GROUP,
    ];
    match options.only.iter().find(|group| !known.contains(&group.as_str())) {
        Some(group) => Err(format!("there is no group `{group}`; there are {}", known.join(", ")).into()),
        None => Ok(Some(options)),
    }
}

fn run(options: Options) -> Outcome<()> {
    let device = match options.device.as_deref() {
        None => Device::best(),
        Some("cpu") => Device::cpu(),
        Some("cuda") => Device::cuda(0)?,
        Some(other) => return Err(format!("there is no device `{other}`: cpu or cuda").into()),
    };
    println!("taut-bench on {device}{}", if options.quick { ", quick" } else { "" });
    if let Some(path) = &options.tuning {
        let tuning = Tuning::read(path)?;
        let ways = tuning.len();
        device.set_tuning(tuning)?;
        println!("{ways} products run as {} says", path.display());
    }
    let wanted = |group: &str| options.only.is_empty() || options.only.iter().any(|only| only == group);
    let mut bench = Bench::new(device, options.quick, options.data.clone());
    bench.ops = options.ops;
    bench.timeline = options.timeline;
    if let Some(out) = &options.tune {
        return Ok(tuning::measure(&bench, options.shapes.as_deref(), out)?);
    }
    if wanted(host::GROUP) {
        host::measure(&mut bench, &options.out.join("criterion"))?;
    }
    if wanted(memory::GROUP) {
        memory::mlp(&mut bench)?;
        memory::flights(&mut bench)?;
        memory::encoder(&mut bench)?;
    }
    if wanted(memory::GROUP) || wanted(pool::PART) {
        pool::measure(&mut bench)?;
    }
    // What techniques save of a step of training is the other half of what there is to say about memory.
    if wanted(training::GROUP) || wanted(memory::GROUP) {
        training::measure(&mut bench)?;
    }
    if wanted(learn::GROUP) {
        learn::measure(&mut bench)?;
    }
    if wanted(curve::GROUP) {
        curve::measure(&mut bench, &options.out.join(curve::GROUP))?;
    }
    if wanted(throughput::GROUP) {
        throughput::measure(&mut bench)?;
    }
    if wanted(multi::GROUP) {
        multi::measure(&mut bench)?;
    }
    if wanted(products::GROUP) {
        products::measure(&mut bench)?;
    }
    if wanted(layers::GROUP) {
        layers::measure(&mut bench)?;
    }
    if wanted(model::GROUP) {
        model::measure(&mut bench)?;
    }
    if wanted(encoder::GROUP) {
        encoder::measure(&mut bench)?;
    }

    // Groups that did not run keep the figures of an earlier run of this commit.
    let json = options.out.join("latest.json");
    if let Ok(old) = figures::Report::read(&json) {
        bench.report.keep(old);
    }
    bench.report.write(&json)?;
    if options.timeline {
        timeline::write(&options.out, &bench.timelines)?;
    }
    let mut sections = vec![model::section(&bench), encoder::section(&bench), memory::section(&bench)];
    sections.extend([learn::section(&bench), curve::section(&bench), training::section(&bench)]);
    sections.extend(timeline::section(&bench));
    sections.extend([
        throughput::section(&bench),
        multi::section(&bench),
        products::section(&bench),
        layers::section(&bench),
        host::section(&bench),
    ]);
    page::write(&options.out.join("index.html"), &bench.report, &sections)?;
    Ok(())
}
