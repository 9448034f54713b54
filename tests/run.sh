#!/bin/sh
# run.sh - runs the test programs of `make check` and adds up what they say.
#
# usage: run.sh -d DIR [-j JOBS] COMMAND...
#
# Each COMMAND is one argument, run by sh; "@N " in front of it is its time limit in seconds (default 120; an emulator or valgrind
# may stretch all of them with RUN_SLOWER=3). A command ends with a line "N passed, N failed[, N skipped]"; without one it counts
# as one test, judged by its exit status. A program that fails its own total, or that dies after a good one (a leak, a
# sanitizer), is a failure as well. JOBS run at a time; the last command, the scenario suite, runs alone since it measures time.
# What a program printed is in DIR/N.out; that of a failed one is shown whole.

set -eu

one() { # NUMBER: runs DIR/NUMBER.cmd, writes DIR/NUMBER.res as "passed failed skipped"
	cmd=$(cat "$dir/$1.cmd")
	limit=120
	case $cmd in @*) limit=${cmd%% *} limit=${limit#@} cmd=${cmd#* } ;; esac
	limit=$((limit * ${RUN_SLOWER:-1}))
	rc=0
	timeout -k 5 "$limit" sh -c "exec $cmd" >"$dir/$1.out" 2>&1 </dev/null || rc=$?

	total=$(sed -n 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed\(, \([0-9][0-9]*\) skipped\)\{0,1\}$/\1 \2 \4/p' "$dir/$1.out" | tail -n 1)
	why=''
	if [ -z "$total" ]; then
		total='0 0 0'
		[ "$rc" -ne 0 ] || total='1 0 0'
	fi
	# shellcheck disable=SC2086 # three words
	set -- "$1" $total
	passed=$2 failed=$3 skipped=${4:-0}
	if [ "$rc" -eq 124 ]; then
		why="not done after $limit s" failed=$((failed + 1))
	elif [ "$rc" -eq 137 ]; then
		why="killed, by its limit of $limit s or by another" failed=$((failed + 1))
	elif [ "$rc" -ne 0 ] && [ "$failed" -eq 0 ]; then
		why="exit status $rc" failed=1
	elif [ "$rc" -eq 0 ] && [ "$failed" -ne 0 ]; then
		why='exit status 0 in spite of failures'
	elif [ $((passed + failed + skipped)) -eq 0 ] && [ -z "${TEST_FILTER-}" ]; then
		why='no test at all' failed=1
	fi

	name=$cmd
	case $name in sh\ *) name=${name#sh } ;; esac
	name=${name%% *} name=${name##*/}
	{
		if [ "$failed" -eq 0 ] && [ -z "$why" ]; then
			printf 'ok     %-24s %5d passed' "$name" "$passed"
			[ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
			echo
			sed -n 's/^skip /       skipped: /p' "$dir/$1.out"
		else
			printf 'FAILED %-24s %5d passed, %d failed%s\n' "$name" "$passed" "$failed" "${why:+ ($why)}"
			echo "       $cmd"
			sed 's/^/       | /' "$dir/$1.out"
		fi
	} >"$dir/$1.show"
	echo "$passed $failed $skipped" >"$dir/$1.res"
	cat "$dir/$1.show"
}

dir='' jobs=1
while getopts d:j:o: opt; do
	case $opt in
	d) dir=$OPTARG ;;
	j) jobs=$OPTARG ;;
	o) one "$OPTARG"; exit 0 ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
if [ -z "$dir" ] || [ $# -eq 0 ]; then
	echo "usage: $0 -d DIR [-j JOBS] COMMAND..." >&2
	exit 2
fi

rm -rf "$dir"
mkdir -p "$dir"
export ASAN_OPTIONS="${ASAN_OPTIONS-detect_leaks=1:detect_stack_use_after_return=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS-print_stacktrace=1:halt_on_error=1}"

n=0
for cmd; do
	n=$((n + 1))
	printf '%s\n' "$cmd" >"$dir/$n.cmd"
done
i=1
while [ "$i" -lt "$n" ]; do
	echo "$i"
	i=$((i + 1))
done | xargs -P "$jobs" -n 1 sh "$0" -d "$dir" -o || true
one "$n"

# A .res that is missing is a run.sh that died: it must not pass for silence.
passed=0 failed=0 skipped=0 i=1
while [ "$i" -le "$n" ]; do
	p=0 f=1 s=0
	[ ! -f "$dir/$i.res" ] || read -r p f s <"$dir/$i.res"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s)) i=$((i + 1))
done
if [ "$skipped" -eq 0 ]; then
	echo "$passed passed, $failed failed"
else
	echo "$passed passed, $failed failed, $skipped skipped"
fi
[ "$failed" -eq 0 ]
