#!/bin/sh
# Runs what `cargo xtask bundle` packed, on a machine that has an NVIDIA driver and no Rust.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
TAUT_COMMIT=$(cat "$here/COMMIT")
export TAUT_COMMIT

usage() {
    cat <<'TEXT'
run.sh test [ARGS]       every test, on the CPU and on the GPU
run.sh bench [ARGS]      every measurement; results go to $OUT, or to ./out
run.sh sanitize [ARGS]   compute-sanitizer's memcheck and racecheck over the CUDA tests, few cases each
                         (SANITIZER names the program if it is not on the PATH)
run.sh probe             what this machine is, and whether the programs can start on it
TEXT
}

# Programs are packed compressed: most of them is machine code for the GPU. The first use unpacks one.
program() {
    if [ ! -x "$here/$1" ] && [ -f "$here/$1.gz" ]; then
        gunzip -c "$here/$1.gz" > "$here/$1.part"
        chmod +x "$here/$1.part"
        mv "$here/$1.part" "$here/$1"
    fi
    if [ ! -x "$here/$1" ]; then
        echo "run.sh: this bundle holds no $1; it was packed with --only" >&2
        exit 2
    fi
    echo "$here/$1"
}

sanitizer() {
    for candidate in "${SANITIZER:-}" compute-sanitizer /usr/local/cuda/bin/compute-sanitizer; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "run.sh: there is no compute-sanitizer here; set SANITIZER to its path" >&2
    exit 2
}

sanitize() {
    taut_test=$(program taut-test)
    sanitizer=$(sanitizer)
    # A case is some hundred times slower here. One thread, so that a report belongs to a test.
    TAUT_CASES=${TAUT_CASES:-8}
    export TAUT_CASES
    if [ $# -eq 0 ]; then set -- cuda --test-threads=1; fi
    status=0
    for tool in memcheck racecheck; do
        echo "== $tool"
        "$sanitizer" --tool "$tool" --error-exitcode 86 "$taut_test" "$@" || status=$?
    done
    return "$status"
}

probe() {
    echo "commit: $TAUT_COMMIT"
    uname -srm
    grep -m 1 'model name' /proc/cpuinfo || true
    echo "cores: $(getconf _NPROCESSORS_ONLN)"
    grep MemTotal /proc/meminfo || true
    if command -v nvidia-smi >/dev/null 2>&1; then
        nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used,power.limit --format=csv || true
    else
        echo "no nvidia-smi"
    fi
    for name in taut-test taut-bench; do
        if ! (program "$name") >/dev/null 2>&1; then
            echo "$name: not in this bundle"
        elif ldd "$here/$name" 2>&1 | grep -i 'not found'; then
            echo "$name: does not start here"
        else
            echo "$name: finds its libraries"
        fi
    done
}

command=${1:-help}
[ $# -gt 0 ] && shift
case $command in
    test)
        taut_test=$(program taut-test)
        exec "$taut_test" "$@"
        ;;
    bench)
        taut_bench=$(program taut-bench)
        exec "$taut_bench" --data "$here/data" --out "${OUT:-./out}" "$@"
        ;;
    sanitize) sanitize "$@" ;;
    probe) probe ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
