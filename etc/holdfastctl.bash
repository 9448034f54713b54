# bash completion for holdfastctl(8). tests/optscan compares the words with what holdfastctl itself says.

_holdfastctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} command='' i
	local options='-c -d --json --yes --force --user --dry-run --discard --help --version'
	local daemon='status watch devices sessions files link pause resume drain kill forget log-level reload rotate config version'
	local buffer='stat list show verify export import discard retry backup compact'

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c | -d | --user) ((i++)) ;;
		-*) ;;
		*) command="$command ${COMP_WORDS[i]}" ;;
		esac
	done
	case ${COMP_WORDS[COMP_CWORD - 1]} in
	-c) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	-d) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
	--user) return ;;
	esac
	case $command in
	'') mapfile -t COMPREPLY < <(compgen -W "$daemon buffer $options" -- "$cur") ;;
	' buffer') mapfile -t COMPREPLY < <(compgen -W "$buffer" -- "$cur") ;;
	' link') mapfile -t COMPREPLY < <(compgen -W 'online offline auto budget' -- "$cur") ;;
	' link budget' | ' link '*' budget') mapfile -t COMPREPLY < <(compgen -W 'add' -- "$cur") ;;
	' log-level') mapfile -t COMPREPLY < <(compgen -W 'error warn info debug' -- "$cur") ;;
	' buffer export' | ' buffer import' | ' buffer backup') mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur") ;;
	esac
}
complete -F _holdfastctl holdfastctl
