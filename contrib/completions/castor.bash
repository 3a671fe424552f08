# bash completion for castor. Commands and options are asked of castor itself.

# The commands that `castor help` lists: one or two words a line.
_castor_commands() {
	castor help 2>/dev/null |
		sed -n 's/^  \([a-z][a-z-]*\( [a-z][a-z-]*\)\?\)\( [^ a-z].*\|  .*\|\)$/\1/p'
}

# The options of one command; those that take a value end in "=".
_castor_options() {
	# shellcheck disable=SC2086
	castor help $1 2>/dev/null | sed -n \
		-e 's/^  [ -][^-]*--\([a-z0-9-]*\) [A-Z].*$/--\1=/p' \
		-e 's/^  [ -][^-]*--\([a-z0-9-]*\)\(  .*\|\)$/--\1/p'
}

_castor() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local commands command words=1 options
	COMPREPLY=()
	commands=$(_castor_commands)
	command=${COMP_WORDS[1]}

	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W "$(cut -d ' ' -f 1 <<<"$commands" | sort -u)" \
			-- "$current")
		return
	fi
	if grep -q "^$command " <<<"$commands"; then
		if [ "$COMP_CWORD" -eq 2 ]; then
			mapfile -t COMPREPLY < <(compgen -W "$(sed -n "s/^$command //p" \
				<<<"$commands")" -- "$current")
			return
		fi
		command="$command ${COMP_WORDS[2]}"
		words=2
	fi
	if [ "$command" = help ]; then
		mapfile -t COMPREPLY < <(compgen -W "$(tr ' ' '\n' <<<"$commands" | sort -u)" \
			-- "$current")
		return
	fi
	options=$(_castor_options "$command")
	if [[ $current == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(tr -d = <<<"$options")" -- "$current")
	elif [[ $previous == --* ]] && grep -qxF -- "$previous=" <<<"$options"; then
		case $previous in
		--*addr | --store)
			mapfile -t COMPREPLY < <(compgen -W "local:// memory:// files://" \
				-- "$current")
			compopt -o nospace
			;;
		esac
	elif [ "$COMP_CWORD" -gt "$words" ]; then
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		if [[ $command =~ ^(ls|cat|info|export|nar\ dump|nar\ export|tar\ dump)$ ]]; then
			mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W \
				"$(castor list 2>/dev/null)" -- "$current")
		fi
	fi
}
complete -F _castor castor
