# shellcheck shell=sh
# lib.sh - what check and quickstart share: finding and installing packages, configuring, building. Sourced, not run.
#
# The caller sets `me` (its name, for messages) and `srcdir` (absolute) first. Nothing outside the build folder is written, but for
# the packages, and those are named before they are installed; only that needs root or sudo.

build_packages='gcc libc6-dev make pkg-config libevent-dev libssl-dev zlib1g-dev libdb5.3-dev libinih-dev'

say() { echo "$me: $*"; }
die() { echo "$me: $*" >&2; exit 1; }

# PACKAGES...: installs those that are missing. Elsewhere than on Debian and its kin configure says what is missing.
need_packages() {
	if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
		say "not a Debian: the packages that are needed here are the like of $*"
		return 0
	fi
	missing=''
	for package; do
		case $(dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null) in
		*'ok installed'*) ;;
		*) missing="$missing $package" ;;
		esac
	done
	[ -n "$missing" ] || return 0

	if [ "$(id -u)" -eq 0 ]; then
		root='env'
	elif command -v sudo >/dev/null 2>&1; then
		root='sudo env'
	else
		die "missing:$missing. Neither root nor sudo here; as root: apt-get install$missing"
	fi
	say "installing:$missing"
	apt="$root DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 --no-install-recommends"
	# shellcheck disable=SC2086 # lists of words
	$apt install $missing >"$build/apt.log" 2>&1 || { $apt update && $apt install $missing; } >>"$build/apt.log" 2>&1 || {
		tail -n 20 "$build/apt.log" >&2
		die "apt-get could not install$missing"
	}
}

# [DIR]: sets and makes `build`, DIR or a fresh folder
make_build_dir() {
	if [ -n "${1-}" ]; then
		mkdir -p "$1"
		build=$(cd "$1" && pwd)
	else
		build=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-build.XXXXXX")
	fi
}

# TARGET [OPTIONS OF CONFIGURE...]: configures in the build folder and makes TARGET; what was said is shown only on failure.
configure_and_make() {
	target=$1
	shift
	say "configure $*"
	(cd "$build" && "$srcdir/configure" "$@") >"$build/configure.out" 2>&1 || {
		tail -n 20 "$build/configure.out" >&2
		die "configure failed; $build/config.log tells more"
	}
	say "make $target"
	make -C "$build" -j "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)" "$target" >"$build/make.out" 2>&1 || {
		grep -v '^  [A-Z]' "$build/make.out" | tail -n 60 >&2
		die "make $target failed; all of it is in $build/make.out"
	}
}
