//! What the assembler says of the kernels, and what of it stops the build.

/// Spills, stack frames and remarks of serialized or ignored instructions in a log with `--ptxas-options=-v`: one line
/// for each, with the kernel. `name` gives the readable name of a symbol.
pub(crate) fn complaints(log: &str, name: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut function = String::from("?");
    let mut found = Vec::new();
    for line in log.lines() {
        if let Some(symbol) =
            after(line, "Function properties for ").or(quoted(line, "Compiling entry function '"))
        {
            function = name(symbol.trim());
        }
        if let Some(at) = line.find("(C75") {
            found.push(format!("{function}: {}", line[at..].trim()));
        }
        let bytes = |of| bytes_of(line, of).unwrap_or(0);
        let (stack, stores, loads) =
            (bytes("bytes stack frame"), bytes("bytes spill stores"), bytes("bytes spill loads"));
        if stack + stores + loads > 0 {
            found.push(format!(
                "{function}: {stack} bytes of stack, {stores} of spill stores, {loads} of spill loads"
            ));
        }
    }
    found
}

fn after<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    line.split_once(marker).map(|(_, rest)| rest)
}

fn quoted<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    after(line, marker)?.split_once('\'').map(|(name, _)| name)
}

/// The number before `unit` in a line such as `0 bytes stack frame, 8 bytes spill stores`.
fn bytes_of(line: &str, unit: &str) -> Option<u64> {
    line.split_once(unit)?.0.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4reluv' for 'sm_90a'
ptxas info    : Function properties for _Z4reluv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 14 registers, used 0 barriers, 24 bytes cmem[0]
ptxas info    : Compile time = 1.2 ms
";

    fn complaints_of(log: &str) -> Vec<String> {
        complaints(log, &|symbol| format!("<{symbol}>"))
    }

    #[test]
    fn a_clean_log_passes() {
        assert!(complaints_of(CLEAN).is_empty());
        assert!(complaints_of("").is_empty());
    }

    #[test]
    fn spills_and_stack_frames_are_refused_with_the_kernel() {
        let spills = CLEAN.replace("0 bytes spill loads", "24 bytes spill loads");
        assert_eq!(
            complaints_of(&spills),
            ["<_Z4reluv>: 0 bytes of stack, 0 of spill stores, 24 of spill loads"]
        );
        let stack = CLEAN.replace("0 bytes stack frame", "176 bytes stack frame");
        assert_eq!(
            complaints_of(&stack),
            ["<_Z4reluv>: 176 bytes of stack, 0 of spill stores, 0 of spill loads"]
        );
    }

    #[test]
    fn remarks_of_lost_performance_are_refused() {
        let remark = "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored to maintain minimum \
                      register requirement";
        let found = complaints_of(&format!("{CLEAN}{remark}\n"));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("<_Z4reluv>: (C7508) Potential"), "{found:?}");
    }
}
