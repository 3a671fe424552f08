# fish completion for castor. Commands and options are asked of castor itself.

# "command<TAB>what it does", one or two words.
function __castor_commands
    castor help 2>/dev/null | string replace -rf '^  ([a-z][a-z-]*(?: [a-z][a-z-]*)?)(?: [^ a-z].*?)?(?:  +(.*))?$' '$1\t$2'
end

# The command that the line names so far: as many words as it has.
function __castor_command
    set -l words (commandline -opc)[2..-1]
    set -l known (__castor_commands | string replace -r '\t.*' '')
    if set -q words[2]; and contains -- "$words[1] $words[2]" $known
        echo "$words[1] $words[2]"
    else if set -q words[1]; and contains -- "$words[1]" $known
        echo $words[1]
    end
end

function __castor_first_words
    for line in (__castor_commands)
        set -l parts (string split \t -- $line)
        set -l words (string split ' ' -- $parts[1])
        if set -q words[2]
            echo $words[1]
        else
            echo $line
        end
    end | sort -u
end

function __castor_second_words
    set -l words (commandline -opc)[2..-1]
    __castor_commands | string replace -rf "^$words[1] " ''
end

function __castor_options
    set -l command (__castor_command)
    castor help (string split ' ' -- $command) 2>/dev/null |
        string replace -rf '^  [ -][^-]*(--[a-z0-9-]+)(?: [A-Z]+)?(?:  +(.*))?$' '$1\t$2'
end

function __castor_takes_store_path
    string match -qr '^(ls|cat|info|export|nar dump|nar export|tar dump)$' -- (__castor_command)
end

complete -c castor -n 'test (count (commandline -opc)) -eq 1' -f -a '(__castor_first_words)'
complete -c castor -n 'test (count (commandline -opc)) -eq 2; and test -z (__castor_command)' -f -a '(__castor_second_words)'
complete -c castor -n 'test -n (__castor_command); and string match -q -- "-*" (commandline -ct)' -f -a '(__castor_options)'
complete -c castor -n __castor_takes_store_path -a '(castor list 2>/dev/null)'
