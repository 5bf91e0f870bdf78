#!/bin/sh
# Runs what `cargo xtask bundle` packed, on a machine that has an NVIDIA driver and no Rust.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
TAUT_COMMIT=$(cat "$here/COMMIT")
# The inputs of this bundle, and those that were brought in parts: these outlast it.
TAUT_DATA=$here/data
export TAUT_COMMIT TAUT_DATA
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/taut/data

usage() {
    cat <<'TEXT'
run.sh test [ARGS]       every test, on the CPU and on the GPU
run.sh bench [ARGS]      every measurement; results go to $OUT, or to ./out
run.sh tune [ARGS]       times matrix products in all their ways; the table of those that won goes to tuning.txt beside the
                         results, for 'run.sh bench --tuning FILE'
run.sh sanitize [NAME]   compute-sanitizer's memcheck and racecheck over the CUDA tests, or those with this in their name,
                         few cases and shapes each; a family is cuda::NAME:: (SANITIZER names the program if it is not on
                         the PATH)
run.sh data              keeps the part of an input that \`cargo xtask bundle --data\` packed here; joins and checks the
                         parts once all are there, in ~/.cache/taut/data, where every bundle finds them
run.sh probe             what this machine is, and whether the programs can start on it
TEXT
}

# Programs are packed compressed: most of them is machine code for the GPU. The first use unpacks one.
program() {
    if [ ! -x "$here/$1" ] && [ -f "$here/$1.xz" ]; then
        xz -dc "$here/$1.xz" > "$here/$1.part"
        chmod +x "$here/$1.part"
        mv "$here/$1.part" "$here/$1"
    fi
    if [ ! -x "$here/$1" ]; then
        echo "run.sh: this bundle holds no $1; it was packed with --only" >&2
        exit 2
    fi
    echo "$here/$1"
}

# Moves the part that is packed here beside the others, whole or not at all.
keep() {
    for file in "$here"/parts/*/*; do
        [ -f "$file" ] || continue
        to=$cache/${file#"$here/parts/"}
        mkdir -p "$(dirname "$to")"
        cp "$file" "$to.partial"
        mv "$to.partial" "$to"
    done
}

# Joins the parts of each file that came with a sum, if all are there. The status is $1 if some are missing.
join() {
    if_missing=$1
    status=0
    for sum in "$cache"/*/*.sha256; do
        [ -f "$sum" ] || continue
        whole=${sum%.sha256}
        n='' missing='' i=1
        for part in "$whole".[0-9]*of*; do n=${part##*of}; done
        set --
        while [ -n "$n" ] && [ "$n" != '*' ] && [ "$i" -le "$n" ]; do
            if [ -f "$whole.${i}of$n" ]; then set -- "$@" "$whole.${i}of$n"; else missing="$missing $i"; fi
            i=$((i + 1))
        done
        if [ -n "$missing" ]; then
            echo "run.sh: of the $n parts of $whole these are missing:$missing" >&2
            echo "run.sh: bring target/bundle-data/N and call its 'run.sh data' for each of them" >&2
            status=$if_missing
        elif [ $# -gt 0 ]; then
            cat "$@" > "$whole.partial"
            if [ "$(sha256sum < "$whole.partial" | cut -d' ' -f1)" != "$(cut -d' ' -f1 "$sum")" ]; then
                rm -f "$@" "$whole.partial" "$sum"
                echo "run.sh: the joined parts of $whole are damaged: not the sum that was packed. They were removed;" >&2
                echo "run.sh: bring them again, all from one \`cargo xtask bundle --data\`" >&2
                exit 2
            fi
            mv "$whole.partial" "$whole"
            rm -f "$@" "$sum"
            echo "$whole"
        fi
    done
    return "$status"
}

# Lets programs find what was joined among the inputs of this bundle.
link() {
    join 2
    for file in "$cache"/*/*; do
        to=$TAUT_DATA/${file#"$cache/"}
        if [ -f "$file" ] && [ ! -f "$to" ]; then
            mkdir -p "$(dirname "$to")"
            ln -sf "$file" "$to"
        fi
    done
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

# Families of long trials, each of which is a process. Those of another family are one: it takes seconds until one has begun.
apart='matmul|tuning|reduce|sort|norm|norm_backward|softmax|softmax_backward|cross_entropy|attention'

# Half as many processes at a time as there are cores: racecheck takes up to five of them, and 16 on 16 cores took more than twice
# as long for each trial. Trials that want the card for themselves are left out.
sanitize() {
    taut_test=$(program taut-test)
    sanitizer >/dev/null
    # A case is some hundred times slower here, and large shapes are the same code again and again.
    TAUT_CASES=${TAUT_CASES:-1}
    TAUT_SHAPES=${TAUT_SHAPES:-few}
    # Mapped pages are allocations of 2 MiB to memcheck, which takes a bulk copy over two of them for one that leaves the first.
    TAUT_SEGMENTS=1
    export TAUT_CASES TAUT_SHAPES TAUT_SEGMENTS
    # What is more or less than whole families stays a trial each.
    case ${1:-cuda::} in cuda:: | cuda::*::) join="s/^(cuda::[a-z_0-9]*::).*/\1/" ;; *) join='' ;; esac
    trials=$("$taut_test" --list "${1:-cuda::}" | sed -n 's/^\(cuda::.*\): test$/\1/p')
    {
        echo "$trials" | sed -E "/^cuda::($apart)::/d; $join" | sort -u
        echo "$trials" | sed -nE "/^cuda::($apart)::/p"
    } | sed 's/.*/racecheck &\nmemcheck &/' |
        xargs -n 2 -P "$((($(getconf _NPROCESSORS_ONLN) + 1) / 2))" sh "$here/run.sh" sanitize-one
}

# One tool over the trial of this name, or those whose names begin with it.
sanitize_one() {
    tool=$1 name=$2
    case $name in *::) exact='' ;; *) exact=--exact ;; esac
    log=$(mktemp)
    begin=$(date +%s)
    # One thread, so that a report belongs to a test.
    if "$(sanitizer)" --tool "$tool" --error-exitcode 86 "$(program taut-test)" "$name" $exact --test-threads=1 >"$log" 2>&1
    then
        echo "$tool  ok      $name  $(($(date +%s) - begin)) s"
        rm -f "$log"
    else
        cat "$log" >&2
        rm -f "$log"
        echo "$tool  FAILED  $name  $(($(date +%s) - begin)) s" >&2
        return 1
    fi
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
        link
        taut_test=$(program taut-test)
        exec "$taut_test" "$@"
        ;;
    bench)
        link
        taut_bench=$(program taut-bench)
        exec "$taut_bench" --data "$TAUT_DATA" --out "${OUT:-./out}" "$@"
        ;;
    tune)
        taut_bench=$(program taut-bench)
        exec "$taut_bench" --device cuda --tune "${OUT:-./out}/tuning.txt" "$@"
        ;;
    sanitize)
        link
        sanitize "$@"
        ;;
    sanitize-one) sanitize_one "$@" ;;
    data)
        keep
        join 0 # the others may come later
        ;;
    probe) probe ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
