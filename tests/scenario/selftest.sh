#!/bin/sh
# selftest.sh - the scenario runner must fail when it should: each case is a script with one false expectation (or one broken
# program), and what the runner has to say about it. A runner that lets one of these pass would let a broken relay pass.
#
# usage: selftest.sh [FOLDER OF THE BUILD] (default: HOLDFAST_BIN, else .); programs are in obj/tests/ below it, or in it.
set -eu

bin=${1:-${HOLDFAST_BIN:-.}}
bin=$(cd "$bin" && pwd)
at() { # NAME: where this program is
	if [ -f "$bin/$1" ]; then echo "$bin/$1"; else echo "$bin/obj/tests/$1/$1"; fi
}
runner=$(at scenario)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0
unset TEST_FILTER || true

verdict() { # NAME WHAT-IS-WRONG
	if [ -z "$2" ]; then
		echo "ok $1"
		passed=$((passed + 1))
	else
		printf '# %s\n' "$2"
		sed 's/^/# | /' "$dir/out"
		echo "not ok $1"
		failed=$((failed + 1))
	fi
}

# NAME WANTED-TEXT, script on standard input: must fail and say that text. WANTED-TEXT empty: must pass.
play() {
	cat >"$dir/case.scn"
	rc=0
	TMPDIR=$dir/tmp "$runner" --bin "${programs:-$bin}" --seed 7 "$dir/case.scn" >"$dir/out" 2>&1 || rc=$?
	why=''
	if [ -z "$2" ]; then
		[ $rc -eq 0 ] || why="exit status $rc, want 0"
	elif [ $rc -ne 1 ]; then
		why="exit status $rc, want 1"
	elif ! grep -q '^not ok case ' "$dir/out" || ! grep -qx '0 passed, 1 failed' "$dir/out"; then
		why='it did not say "not ok case" and count it'
	elif ! grep -qe "$2" "$dir/out"; then
		why="it did not say: $2"
	fi
	[ -n "$why" ] || [ -z "$(ls "$dir/tmp")" ] || why="left behind: $(ls "$dir/tmp")"
	verdict "$1" "$why"
}
mkdir "$dir/tmp"

play 'a true expectation passes' '' <<'END'
topology direct
start
dev device a path=/p
dev connect a
dev wait a bound 3000
until 3000 up status -> sessions==1
let n sessions of up status
dev write a $n
dev wait a idle 3000
dev ! wait a disconnected 50
repeat 2
	dev write a $i
	dev wait a idle 3000
end
up status -> changesets==4
link status -> connections==1 opened==1
check delivered
check acked
END

play 'a field that differs' 'want sessions==1, got 0' <<'END'
topology direct
start
up status -> sessions==1
END
play 'a field that is not there' 'no such field' <<'END'
topology direct
start
up status -> sessoins==0
END
play 'ok where fail is expected' 'want fail, got: ok' <<'END'
topology direct
start
up ! status
END
play 'fail where ok is expected' 'want ok, got: fail' <<'END'
topology direct
start
up nonsense
END
play 'a condition that never comes' 'time is up; want sessions==1, got 0' <<'END'
topology direct
start
until 100 up status -> sessions==1
END
play 'a wait of the client that fails' 'case.scn:5: dev wait a connected 100' <<'END'
topology direct
start up link dev
dev device a path=/p
# nobody called connect
dev wait a connected 100
END
play 'values that differ' 'want value<4, got 5' <<'END'
topology direct
calc five 2 + 3
want $five < 4
END
play 'a log line that never comes' 'logged nothing new like' <<'END'
topology direct
start
expect up /never said/ 100
END
play 'an unknown word' 'no program is called frobnicate' <<'END'
topology direct
start
frobnicate
END
play 'an unknown variable' 'no variable nix' <<'END'
topology direct
start
up $nix
END
play 'a block without an end' 'want repeat N ... end' <<'END'
topology direct
repeat 3
start
END
play 'a program that dies' 'ended (signal 9) instead of\|is not running: signal 9\|does not read' <<'END'
topology direct
start
kill up
up status
END
play 'files that differ' 'line 1 differs' <<'END'
topology direct
start
dev device a path=/p
dev device b path=/p
dev connect a
dev wait a bound 3000
dev write a 1
dev wait a idle 3000
up dump one
dev write a 1
dev wait a idle 3000
dev acked a two
same one two
END
play 'two empty files' 'proves nothing' <<'END'
topology direct
start
up dump one
up dump two
same one two
END
play 'an undelivered changeset' 'client_version [0-9]*, which the device wrote, is not upstream' <<'END'
topology direct
start
dev device a path=/p
dev connect a
dev wait a bound 3000
dev write a 1
dev wait a idle 3000
link blackhole
dev write a 1
check delivered
END
play 'an acknowledged changeset that is lost' 'acknowledged to the device, is not upstream' <<'END'
topology direct
start
dev device a path=/p
dev connect a
dev wait a bound 3000
up save before
dev write a 1
dev wait a idle 3000
link refuse
up load before
check acked
END
play 'a check of nothing' 'nothing is proved' <<'END'
topology direct
start
dev device a path=/p
check delivered
END
play 'a violation at the end' 'saw its peer break the protocol' <<'END'
topology direct
start
dev device a path=/p
dev connect a
dev wait a bound 3000
dev bad a 6e6f6e73656e73652031320a
until 3000 up violations -> 1>=1
END

# A daemon made of shell: what the runner must notice about the end of a relay.
programs=$dir/bin
mkdir "$programs"
for p in upstream linkproxy client; do ln -s "$(at $p)" "$programs/$p"; done
fake() { # WHAT IT DOES ONCE IT LISTENS
	printf '#!/bin/sh\n%s\n' "trap 'exit 0' TERM; echo event=listening address=127.0.0.1:9 >&2; $1" >"$programs/holdfast"
	chmod +x "$programs/holdfast"
}
wait_for_term='while :; do sleep 0.05; done'

fake "$wait_for_term"
play 'a daemon that ends well passes' '' <<'END'
topology default
start
expect relay /event=listening/ 1000
logged relay /listening/ == 1
END
play 'a line that was read is not new' 'logged nothing new like' <<'END'
topology default
start
fresh relay
expect relay /event=listening/ 100
END
play 'a line that may never be logged' 'never relay /listening/: event=listening' <<'END'
topology default
start
never relay /listening/
END
fake 'exit 0'
play 'a daemon that ended by itself' 'relay is not running: exit 0' <<'END'
topology default
start
expect relay /event=listening/ 1000
until 1000 up status -> conns==0
END
fake "trap 'exit 3' TERM; $wait_for_term"
play 'a daemon with a bad exit status' 'relay ended badly: exit 3' <<'END'
topology default
start
END
fake "echo 'x.c:1:2: runtime error: load of misaligned address' >&2; $wait_for_term"
play 'a sanitizer that spoke' 'relay: x.c:1:2: runtime error' <<'END'
topology default
start
expect relay /runtime/ 1000
END
printf '#!/bin/sh\nexit 1\n' >"$programs/holdfast"
play 'a daemon that does not start' 'relay does not listen (exit 1)' <<'END'
topology default
start
END

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
