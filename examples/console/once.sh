# shellcheck shell=bash
# Sourced by the consumers. Reads lines of "headers<tab>key<tab>value" and prints each record once, by its
# delayed-source. $1 is what stands between a header's name and its value.
once() {
    local headers key value source due_ms
    local -A seen
    while IFS=$'\t' read -r headers key value; do
        source=$(header delayed-source "$1" "$headers")
        if [[ -n ${seen[$source]:-} ]]; then
            echo "duplicate source=$source"
            continue
        fi
        seen[$source]=yes
        due_ms=$(header delayed-due-ms "$1" "$headers")
        echo "key=$key value=$value late_ms=$(($(date +%s%3N) - due_ms)) source=$source"
    done
}

# The value of the header $1 in "name:value,name:value", where $2 is the colon.
header() {
    tr ',' '\n' <<<"$3" | sed -n "s|^$1$2||p"
}
